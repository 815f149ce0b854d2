"""Looking at a part: a row for every row, each picture once, and the filters' reasons in the ledger's order."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.models.encoder import Encoder
from actors.pictures.decode import Fault, Picture, decode
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


def test_a_filter_does_not_speak_over_the_decoder(tmp_path: Path) -> None:
    looker = Looker(Pictures(max_pixels=40 * 30 - 1, filters=FILTERS), None)
    (row,) = look(tmp_path, [fetched("http://a/tiny.jpg", photo(1, 40, 30))], looker)
    assert row["reason"] == "image_bomb"


def test_an_empty_part_gives_an_empty_part(tmp_path: Path) -> None:
    assert look(tmp_path, []) == []


def test_more_rows_than_a_batch_keep_their_order_on_any_number_of_threads(tmp_path: Path) -> None:
    rows = [fetched(f"http://a/{k}.jpg", photo(k % 130, 210, 205)) for k in range(300)]
    for folder in ("one", "four"):
        (tmp_path / folder).mkdir()
    one = look(tmp_path / "one", rows)
    assert one == look(tmp_path / "four", rows, Looker(Pictures(filters=FILTERS), None, threads=4))
    assert [row["sha256"] for row in one] == [row["sha256"] for row in rows]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a very small open_clip model with untrained weights."""
    open_clip, safetensors = pytest.importorskip("open_clip"), pytest.importorskip("safetensors.torch")
    towers = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
    }
    folder = tmp_path_factory.mktemp("model")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": towers, "preprocess_cfg": {"size": 32}}))
    safetensors.save_model(open_clip.CLIP(**towers), str(folder / "open_clip_model.safetensors"))
    return str(folder)


def test_accepted_pictures_carry_the_vector_of_their_own_pixels(tmp_path: Path, model: str) -> None:
    rows = [fetched(f"http://a/{k}.png", photo(k % 40, codec="PNG")) for k in range(100)]
    rows[3] = fetched("http://a/tiny.jpg", photo(3, 40, 30))
    rows[70] = fetched("http://a/gone.jpg", None, "fetch_dns", "no such host")
    seen = look(tmp_path, rows, Looker(Pictures(filters=FILTERS), model, threads=2))
    assert [number for number, row in enumerate(seen) if row["embedding"] is None] == [3, 70]
    pixels = [np.asarray(Image.open(io.BytesIO(rows[number]["bytes"]))) for number in (0, 39, 99)]
    alone = Encoder(model).encode_images(pixels)
    for number, vector in zip((0, 39, 99), alone, strict=True):
        assert np.dot(seen[number]["embedding"], vector) > 0.999


def test_bytes_met_again_are_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []

    def counted(data: bytes, max_pixels: int, scale_to: int) -> Picture | Fault:
        decoded.append(data)
        return decode(data, max_pixels, scale_to)

    monkeypatch.setattr("actors.pictures.look.decode", counted)
    seen = look(tmp_path, [fetched(f"http://a/{k}.jpg", photo(k % 90)) for k in range(200)])
    assert len(decoded) == len(set(decoded)) == 90
    assert {name: value for name, value in seen[199].items() if name != "url"} == {
        name: value for name, value in seen[19].items() if name != "url"
    }
