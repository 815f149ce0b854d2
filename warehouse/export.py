"""Write a release for trainers: WebDataset shards in img2dataset's layout, one picture with all its texts."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import WarehouseError
from warehouse.lake import connect
from warehouse.releases import find_release

PICTURES_A_SHARD = 10_000
SUFFIXES = {"jpeg": "jpg", "tiff": "tif"}  # where the format is not its own suffix

_ROWS = """
    WITH said AS (SELECT r.image_id, list({'text': t.norm, 'role': r.role, 'weight': r.weight, 'text_id': r.text_id}
                                          ORDER BY r.weight DESC, r.role, r.text_id) AS texts
                  FROM lake.release_pairs r JOIN lake.texts t USING (text_id) WHERE r.release = $1 GROUP BY r.image_id)
    SELECT s.image_id, p.bytes, s.texts, i.url, i.sha256, i.width, i.height, i.format
    FROM said s JOIN lake.pixels p USING (image_id) JOIN lake.images i USING (image_id) ORDER BY s.image_id"""


def export_release(warehouse: str, release: str, folder: str) -> Iterator[tuple[str, int]]:
    """Write the shards of a release to `folder`, yielding (tar, pictures) of each.

    A shard is NNNNN.tar of KEY.{jpg,...}, KEY.txt (the heaviest text) and KEY.json (all texts and facts),
    NNNNN.parquet with the same facts, and NNNNN_stats.json, written last: its presence says the shard is whole.
    The sha256 among the facts is of the picture as it was fetched, as in img2dataset; the file in the tar is cleaned of
    private metadata and can have another.
    """
    find_release(warehouse, release)
    out = Path(folder)
    if out.exists() and any(out.iterdir()):
        raise WarehouseError(f"The folder {out} is not empty.\nGive --to a new folder; an export never overwrites.")
    out.mkdir(parents=True, exist_ok=True)
    with connect(warehouse, read_only=True) as con:
        reader = con.execute(_ROWS, [release]).to_arrow_reader(256)
        rows = (row for batch in reader for row in batch.to_pylist())
        for shard, chunk in enumerate(_chunks(rows)):
            yield _shard(out, shard, chunk)


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[Iterator[dict[str, Any]]]:
    """Consecutive runs of at most PICTURES_A_SHARD rows, each read while it is written."""
    for first in rows:
        yield _run(first, rows)


def _run(first: dict[str, Any], rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield first
    for _, row in zip(range(PICTURES_A_SHARD - 1), rows, strict=False):
        yield row


def _shard(out: Path, shard: int, rows: Iterator[dict[str, Any]]) -> tuple[str, int]:
    name = f"{shard:05d}"
    facts: list[dict[str, Any]] = []
    with tarfile.open(out / f"{name}.tar", "w") as tar:
        for place, row in enumerate(rows):
            key = f"{shard:05d}{place:04d}"
            fact = _facts(key, row)
            suffix = SUFFIXES.get(row["format"], row["format"])
            _add(tar, f"{key}.{suffix}", row["bytes"])
            _add(tar, f"{key}.txt", fact["caption"].encode())
            _add(tar, f"{key}.json", json.dumps(fact, ensure_ascii=False).encode())
            facts.append(fact)
    pq.write_table(pa.Table.from_pylist(facts), out / f"{name}.parquet")
    stats = {"count": len(facts), "successes": len(facts), "failed_to_download": 0, "failed_to_resize": 0}
    (out / f"{name}_stats.json").write_text(json.dumps({**stats, "status_dict": {"success": len(facts)}}))
    return f"{name}.tar", len(facts)


def _facts(key: str, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "key": key,
        "image_id": row["image_id"],
        "url": row["url"],
        "caption": row["texts"][0]["text"],
        "texts": row["texts"],
        "status": "success",
        "error_message": None,
        "width": row["width"],
        "height": row["height"],
        "original_width": row["width"],
        "original_height": row["height"],
        "sha256": row["sha256"],
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
