"""Looking at a part: a row for every row, each picture once, and the filters' reasons in the ledger's order."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.pictures.look import SCHEMA, Looker, LookJob
from filters.recipe import Pictures

FILTERS = ({"filter": "image_too_small"}, {"filter": "image_aspect"}, {"filter": "image_blank"})


def photo(seed: int, width: int = 320, height: int = 240, codec: str = "JPEG") -> bytes:
    """A picture with much to see, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(buffer, codec)
    return buffer.getvalue()


def fetched(url: str, data: bytes | None, reason: str | None = None, detail: str | None = None) -> dict[str, Any]:
    """A row as a fetch writes it."""
    digest = None if data is None else hashlib.sha256(data).hexdigest()
    return {
        "url": url,
        "reason": reason,
        "detail": detail,
        "bytes": data,
        "sha256": digest,
        "md5": None if data is None else hashlib.md5(data).hexdigest(),
        "nbytes": None if data is None else len(data),
    }


def part(folder: Path, rows: Sequence[dict[str, Any]]) -> str:
    kinds = {name: pa.string() for name in ("url", "reason", "detail", "sha256", "md5")}
    schema = pa.schema(kinds | {"bytes": pa.binary(), "nbytes": pa.int64()})
    pq.write_table(pa.Table.from_pylist(list(rows), schema), folder / "fetched.parquet")
    return str(folder / "fetched.parquet")


def look(folder: Path, rows: Sequence[dict[str, Any]], looker: Looker | None = None) -> list[dict[str, Any]]:
    looker = looker or Looker(Pictures(filters=FILTERS), None)
    written = looker(LookJob(part(folder, rows), str(folder / "looked.parquet")))
    table = pq.read_table(written)
    assert table.schema.equals(SCHEMA)
    assert sorted(file.name for file in folder.iterdir()) == ["fetched.parquet", "looked.parquet"]
    assert table.column("url").to_pylist() == [row["url"] for row in rows]
    rows = table.to_pylist()
    return list(rows)


def test_a_picture_that_stays_has_all_its_measures(tmp_path: Path) -> None:
    data = photo(1)
    (row,) = look(tmp_path, [fetched("http://a/1.jpg", data)])
    assert row["reason"] is row["detail"] is row["embedding"] is None
    assert (row["format"], row["width"], row["height"], row["nbytes"]) == ("jpeg", 320, 240, len(data))
    assert row["image_id"] == int(hashlib.sha256(data).hexdigest()[:16], 16) >> 1
    assert all(row[name] is not None for name in ("sha256", "md5", "phash", "std", "entropy", "sharpness", "mean"))


def test_every_row_gets_its_reason(tmp_path: Path) -> None:
    flat = io.BytesIO()
    Image.new("RGB", (300, 300), "navy").save(flat, "PNG")
    rows = [
        fetched("http://a/gone.jpg", None, "fetch_http_status", "404; 200"),
        fetched("http://a/page.jpg", b"<html>"),
        fetched("http://a/cut.jpg", photo(2)[:3000]),
        fetched("http://a/tiny.jpg", photo(3, 40, 30)),
        fetched("http://a/banner.jpg", photo(4, 1400, 210)),
        fetched("http://a/flat.png", flat.getvalue()),
        fetched("http://a/fine.png", photo(5, codec="PNG")),
    ]
    seen = look(tmp_path, rows)
    assert [row["reason"] for row in seen] == [
        "fetch_http_status",
        "image_not_image",
        "image_truncated",
        "image_too_small",
        "image_aspect",
        "image_blank",
        None,
    ]
    assert seen[0]["detail"] == "404; 200"
    assert seen[0]["image_id"] is None
    assert all(row["detail"] for row in seen[:-1])
    assert all(row["image_id"] is not None for row in seen[1:])


def test_the_bound_of_the_recipe_on_pixels_holds(tmp_path: Path) -> None:
    (row,) = look(tmp_path, [fetched("http://a/1.jpg", photo(1))], Looker(Pictures(max_pixels=320 * 240 - 1), None))
    assert (row["reason"], row["width"], row["height"]) == ("image_bomb", 320, 240)


def test_an_empty_part_gives_an_empty_part(tmp_path: Path) -> None:
    assert look(tmp_path, []) == []


def test_more_rows_than_a_batch_keep_their_order_on_any_number_of_threads(tmp_path: Path) -> None:
    rows = [fetched(f"http://a/{k}.jpg", photo(k % 130, 210, 205)) for k in range(300)]
    for folder in ("one", "four"):
        (tmp_path / folder).mkdir()
    one = look(tmp_path / "one", rows)
    assert one == look(tmp_path / "four", rows, Looker(Pictures(filters=FILTERS), None, threads=4))
    assert [row["sha256"] for row in one] == [row["sha256"] for row in rows]


@dataclass
class Model:
    """Stands where a model would: a vector that says which picture it is of, and a count of what it was asked."""

    asked: int = 0

    def encode_images(self, pixels: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        self.asked += len(pixels)
        return np.array([[p.shape[1], p.shape[0], p.mean()] for p in pixels], np.float32).reshape(-1, 3)


def test_accepted_pictures_are_embedded_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    monkeypatch.setattr("actors.models.encoder.Encoder", lambda folder: model)
    rows = [fetched(f"http://a/{k}.jpg", photo(k % 80)) for k in range(200)]
    rows[3] = fetched("http://a/tiny.jpg", photo(3, 40, 30))
    rows[90] = fetched("http://a/gone.jpg", None, "fetch_dns", "no such host")
    seen = look(tmp_path, rows, Looker(Pictures(filters=FILTERS), "a folder", threads=2))
    assert model.asked == 80
    assert [number for number, row in enumerate(seen) if row["embedding"] is None] == [3, 90]
    for row in seen:
        if row["embedding"] is not None:
            assert row["embedding"][:2] == [320, 240]
            assert row["embedding"][2] == pytest.approx(row["mean"], abs=12)  # the very picture of this row
    assert seen[83]["embedding"] == seen[163]["embedding"]
