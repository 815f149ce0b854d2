"""The folder that the img2dataset command wrote: which shards are whole, and in which of them each picture is."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import schemas
from warehouse.errors import SourceError
from warehouse.ids import fingerprint
from warehouse.lake import connect, quoted, view

PICTURES = ("jpg", "png", "webp")
"""The columns that hold bytes in the parquet form: img2dataset names one by the format that it encodes to."""

MOST_PICTURES = 1000
"""In a part: as many as the web's parts have URLs."""

WANTED = pa.schema([(name, pa.string()) for name in ("url", "key", "status", "error_message")])

_NUMBER = re.compile(r"[0-9]+")
# Of a URL's rows a refusal counts first, wherever else the picture was taken; then a row that has the bytes.
_FIRST = """CASE WHEN error_message ILIKE '%X-Robots-Tag%' THEN 0 WHEN status = 'success' THEN 1 ELSE 2 END,
            shard, length(key), key"""


@dataclass(frozen=True)
class Shard:
    """A whole shard: the file of its metadata and that of its pictures, a tar or (with a `column`) the same one."""

    metadata: Path
    pictures: Path
    column: str | None
    written_at: datetime

    @property
    def number(self) -> int:
        return int(self.metadata.stem)


@dataclass(frozen=True)
class Wanted:
    """A Parquet part of WANTED, whose pictures are in `shard`."""

    shard: Shard
    part: str


def find_shards(folder: Path) -> list[Shard]:
    """The folder's whole shards by their numbers. SourceError where there is none, or where one's pictures are gone."""
    numbered = _numbered(folder)
    if not numbered:
        raise SourceError(
            f"{folder} is a folder without shards of img2dataset (00000.parquet and 00000_stats.json).\n"
            "Give one log file, or a folder that img2dataset wrote as webdataset or parquet."
        )
    whole = [path for path in numbered if _stats(path).exists()]
    if not whole:
        raise SourceError(
            f"No shard of {folder} is whole: {len(numbered)} lack the _stats.json that img2dataset writes last.\n"
            "Let img2dataset finish (the same command goes on where it was), then run again."
        )
    return [_shard(path) for path in whole]


def unfinished(folder: Path) -> list[str]:
    """The names of the shards that img2dataset has begun and not finished: they are not read."""
    return [path.stem for path in _numbered(folder) if not _stats(path).exists()]


def shard_hash(shard: Shard) -> str:
    """sha256 over a shard's metadata as it stands on disk, and the sizes of its files.

    The pictures' own bytes are not read: hashing 30 GB a million pictures at every start would cost as much as
    milling them, and a run that is a no-op would be none. The metadata has every URL, caption, status and (by
    default) the sha256 of every picture as it was downloaded, so other pictures are another hash; a tar that was
    cut off or completed has another size. What is not seen is a tar whose pictures were replaced by others of the same
    sizes, behind the metadata's back.
    """
    digest = hashlib.sha256(f"{shard.number} {shard.column} {shard.pictures.stat().st_size}\n".encode())
    try:
        for start, size in _beside_pictures(shard):
            with open(shard.metadata, "rb") as file:
                file.seek(start)
                digest.update(file.read(size))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{shard.metadata} cannot be read: {str(error)[:200]}\n"
            f"Copy the shard again, or delete {_stats(shard.metadata).name} to leave the shard out."
        ) from error
    return digest.hexdigest()


def folder_hash(folder: Path) -> str:
    """What stands for the content of a folder: the hashes of its whole shards. Its path is no part of it."""
    return hashlib.sha256("\n".join(["img2dataset", *map(shard_hash, find_shards(folder))]).encode()).hexdigest()


def rows_sql(shards: Sequence[Shard]) -> str:
    """A relation of the shards' metadata, with `shard_file`; shards that differ in columns are joined by name."""
    files = ", ".join(quoted(glob.escape(str(shard.metadata))) for shard in shards)
    return f"read_parquet([{files}], hive_partitioning = false, union_by_name = true, filename = 'shard_file')"


SHARD_NUMBER = "parse_filename(shard_file, true)::BIGINT"


def wanted_parts(warehouse: str, sifted: str, folder: Path, out: Path) -> list[Wanted]:
    """Write where the pictures of the URLs that are left are to parts in `out`, named by what they hold.

    Each URL stands once, whichever shards have it: with a refusal where there is one, else with the first shard and
    key that have its bytes, else with the first failure.
    """
    shards = {shard.number: shard for shard in find_shards(folder)}
    with connect(warehouse) as con:
        rows = rows_sql(list(shards.values()))
        present = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()]
        view(con, "sifted", [sifted], schemas.SIFTED)
        reader = con.execute(_wanted(rows, present)).to_arrow_reader(10_000)
        told = (row for batch in reader for row in batch.to_pylist())
        return [
            Wanted(shards[number], _part([{name: row[name] for name in WANTED.names} for row in group], out))
            for (number, _), group in groupby(told, lambda row: (row["shard"], row["place"]))
        ]


def _wanted(rows: str, present: Sequence[str]) -> str:
    status = "status" if "status" in present else "'success'"
    message = "error_message" if "error_message" in present else "NULL"
    return f"""
        WITH told AS (SELECT url::VARCHAR AS url, key::VARCHAR AS key, {status}::VARCHAR AS status,
                             {message}::VARCHAR AS error_message, {SHARD_NUMBER} AS shard FROM {rows}),
        asked AS (SELECT * FROM told WHERE url IN (SELECT url FROM sifted WHERE reason IS NULL)),
        once AS (SELECT * FROM asked QUALIFY row_number() OVER (PARTITION BY url ORDER BY {_FIRST}) = 1)
        SELECT *, (row_number() OVER (PARTITION BY shard ORDER BY length(key), key, url) - 1) // {MOST_PICTURES}
                  AS place
        FROM once ORDER BY shard, place, length(key), key, url"""


def _part(rows: list[dict[str, str | None]], out: Path) -> str:
    name = out / f"{fingerprint(*(str(value) for row in rows for value in row.values()))}.parquet"
    if not name.exists():
        out.mkdir(parents=True, exist_ok=True)
        aside = name.with_name(f".{name.name}.writing")
        pq.write_table(pa.Table.from_pylist(rows, schema=WANTED), aside)
        aside.replace(name)
    return str(name)


def _numbered(folder: Path) -> list[Path]:
    """Files of metadata, by their numbers: names grow longer after shard 99999."""
    found = [path for path in folder.glob("*.parquet") if _NUMBER.fullmatch(path.stem)]
    return sorted(found, key=lambda path: int(path.stem))


def _stats(metadata: Path) -> Path:
    return metadata.with_name(f"{metadata.stem}_stats.json")


def _shard(metadata: Path) -> Shard:
    tar = metadata.with_suffix(".tar")
    if tar.exists():
        return Shard(metadata, tar, None, _written_at(_stats(metadata)))
    column = _picture_column(metadata)
    if column is None:
        raise SourceError(
            f"{metadata} has neither {tar.name} beside it nor a column of pictures ({', '.join(PICTURES)}).\n"
            "Copy the folder whole, or write it with --output_format webdataset or parquet."
        )
    return Shard(metadata, metadata, column, _written_at(_stats(metadata)))


def _picture_column(metadata: Path) -> str | None:
    try:
        schema = pq.read_schema(metadata)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(
            f"{metadata} cannot be read: {str(error)[:200]}\nCopy the shard again, or delete its _stats.json."
        ) from error
    return next(
        (name for name in PICTURES if name in schema.names and pa.types.is_binary(schema.field(name).type)), None
    )


def _written_at(stats: Path) -> datetime:
    """When the last picture of the shard came: as img2dataset wrote it down, else when it wrote that."""
    try:
        told = json.loads(stats.read_bytes())
        return datetime.fromtimestamp(float(told["end_time"]), UTC)
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return datetime.fromtimestamp(stats.stat().st_mtime, UTC)


def _beside_pictures(shard: Shard) -> Iterator[tuple[int, int]]:
    """Where in the metadata's file everything but the pictures stands: (first byte, length)."""
    if shard.column is None:
        yield 0, shard.metadata.stat().st_size
        return
    with pq.ParquetFile(shard.metadata) as file:
        held = file.metadata
    for group in range(held.num_row_groups):
        for place in range(held.num_columns):
            chunk = held.row_group(group).column(place)
            if chunk.path_in_schema != shard.column:
                yield min(_starts(chunk)), chunk.total_compressed_size
    footer = held.serialized_size + 8  # its length and the magic bytes stand behind it
    yield shard.metadata.stat().st_size - footer, footer


def _starts(chunk: pq.ColumnChunkMetaData) -> Iterator[int]:
    yield chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        yield chunk.dictionary_page_offset
