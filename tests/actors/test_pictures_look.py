"""Looking at a part: a row for every row, each picture once, and the filters' reasons in the ledger's order."""

import hashlib
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.models.cells import Floats
from actors.models.encoder import Encoder
from actors.models.files import FoundModel, find_model
from actors.models.heads import Network, write_head
from actors.models.layers import Layer
from actors.models.tagging import Tagger, TagJob
from actors.pictures.decode import Fault, Picture, decode
from actors.pictures.look import Looked, Looker, Looking, LookJob
from actors.pictures.readout import TagList
from actors.pictures.seen import SCHEMA
from filters.recipe import Model, Pictures

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


PLAIN = Looking(Pictures(filters=FILTERS))


def look(folder: Path, rows: Sequence[dict[str, Any]], looker: Looker | None = None) -> list[dict[str, Any]]:
    looker = looker or Looker(PLAIN)
    looker(LookJob(part(folder, rows), str(folder / "looked.parquet"), str(folder / "vectors.parquet")))
    table = pq.read_table(folder / "looked.parquet")
    assert table.schema.equals(SCHEMA)
    assert sorted(file.name for file in folder.iterdir()) == ["fetched.parquet", "looked.parquet", "vectors.parquet"]
    assert table.column("url").to_pylist() == [row["url"] for row in rows]
    rows = table.to_pylist()
    return list(rows)


def vectors(folder: Path) -> dict[int, Floats]:
    """By picture."""
    rows = pq.read_table(folder / "vectors.parquet").to_pylist()
    return {row["subject_id"]: np.array(row["vector"], np.float32) for row in rows}


def test_a_picture_that_stays_has_all_its_measures(tmp_path: Path) -> None:
    data = photo(1)
    (row,) = look(tmp_path, [fetched("http://a/1.jpg", data)])
    assert row["reason"] is row["detail"] is row["heads"] is row["tags"] is None
    assert (row["format"], row["width"], row["height"], row["nbytes"]) == ("jpeg", 320, 240, len(data))
    assert row["image_id"] == int(hashlib.sha256(data).hexdigest()[:16], 16) >> 1
    assert all(row[name] is not None for name in ("sha256", "md5", "phash", "std", "entropy", "sharpness", "mean"))
    assert len(row["colours"]) == len(row["colour_shares"]) > 0
    assert max(Image.open(io.BytesIO(row["thumbnail"])).size) == 160


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
    (row,) = look(tmp_path, [fetched("http://a/1.jpg", photo(1))], Looker(Looking(Pictures(max_pixels=320 * 240 - 1))))
    assert (row["reason"], row["width"], row["height"]) == ("image_bomb", 320, 240)


def test_a_filter_does_not_speak_over_the_decoder(tmp_path: Path) -> None:
    looker = Looker(Looking(Pictures(max_pixels=40 * 30 - 1, filters=FILTERS)))
    (row,) = look(tmp_path, [fetched("http://a/tiny.jpg", photo(1, 40, 30))], looker)
    assert row["reason"] == "image_bomb"


def test_an_empty_part_gives_an_empty_part(tmp_path: Path) -> None:
    assert look(tmp_path, []) == []


def test_more_rows_than_a_batch_keep_their_order_on_any_number_of_threads(tmp_path: Path) -> None:
    rows = [fetched(f"http://a/{k}.jpg", photo(k % 130, 210, 205)) for k in range(300)]
    for folder in ("one", "four"):
        (tmp_path / folder).mkdir()
    one = look(tmp_path / "one", rows)
    assert one == look(tmp_path / "four", rows, Looker(PLAIN, cores=4))
    assert [row["sha256"] for row in one] == [row["sha256"] for row in rows]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FoundModel:
    """A very small open_clip model with untrained weights."""
    open_clip, safetensors = pytest.importorskip("open_clip"), pytest.importorskip("safetensors.torch")
    towers = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
    }
    folder = tmp_path_factory.mktemp("model")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": towers, "preprocess_cfg": {"size": 32}}))
    safetensors.save_model(open_clip.CLIP(**towers), str(folder / "open_clip_model.safetensors"))
    return find_model(Model(path=str(folder)))


def test_accepted_pictures_have_the_vector_of_their_own_pixels(tmp_path: Path, model: FoundModel) -> None:
    rows = [fetched(f"http://a/{k}.png", photo(k % 40, codec="PNG")) for k in range(100)]
    rows[3] = fetched("http://a/tiny.jpg", photo(3, 40, 30))
    rows[70] = fetched("http://a/gone.jpg", None, "fetch_dns", "no such host")
    seen = look(tmp_path, rows, Looker(Looking(Pictures(filters=FILTERS), (model,)), cores=2))
    found = vectors(tmp_path)
    assert [number for number, row in enumerate(seen) if row["image_id"] not in found] == [3, 70]
    encoder = Encoder(model)
    pixels = [np.asarray(Image.open(io.BytesIO(rows[number]["bytes"]))) for number in (0, 39, 99)]
    alone = encoder.encode_pictures([encoder.fit(one, *one.shape[:2]) for one in pixels])
    for number, vector in zip((0, 39, 99), alone, strict=True):
        assert np.dot(found[seen[number]["image_id"]], vector) > 0.999


def _look(folder: Path, name: str, looking: Looking, *before: str) -> tuple[Looked, pa.Table, pa.Table]:
    """A look that knows what those named `before` left."""
    earlier = tuple(str(folder / f"{one}.parquet") for one in before)
    known = tuple(str(folder / f"{one}-vectors.parquet") for one in before)
    out, out_vectors = (str(folder / f"{name}{end}.parquet") for end in ("", "-vectors"))
    done = Looker(looking)(LookJob(str(folder / "fetched.parquet"), out, out_vectors, earlier, known))
    return done, pq.read_table(out), pq.read_table(out_vectors)


def test_a_second_recipe_decodes_and_embeds_nothing_and_says_what_it_would_have_said_alone(
    tmp_path: Path, model: FoundModel
) -> None:
    rows = [fetched(f"http://a/{k}.jpg", photo(k, 230 + 3 * k, 240)) for k in range(30)]
    rows += [fetched("http://a/cut.jpg", photo(77)[:3000]), fetched("http://a/gone.jpg", None, "fetch_dns", "no host")]
    part(tmp_path, rows)
    other = Looking(Pictures(filters=({"filter": "image_too_small", "side": 240}, *FILTERS[1:])), (model,))
    first, _, _ = _look(tmp_path, "first", Looking(Pictures(filters=FILTERS), (model,)))
    second, told, embedded = _look(tmp_path, "second", other, "first")
    alone, told_alone, _ = _look(tmp_path, "alone", other)
    assert (first.decoded, first.forwards) == (31, 30)
    assert (second.decoded, second.forwards) == (0, 0)
    assert (alone.decoded, alone.forwards) == (31, 26)
    assert told.equals(told_alone)
    assert told["reason"].to_pylist().count("image_too_small") == 4
    assert embedded.num_rows == 30, "what is known is not forgotten"


def test_what_a_stricter_recipe_did_not_embed_is_decoded_for_that_alone(tmp_path: Path, model: FoundModel) -> None:
    part(tmp_path, [fetched(f"http://a/{k}.jpg", photo(k, 230 + 3 * k, 240)) for k in range(30)])
    strict = Looking(Pictures(filters=({"filter": "image_too_small", "side": 240},)), (model,))
    _look(tmp_path, "strict", strict)
    loose, told, embedded = _look(tmp_path, "loose", Looking(Pictures(), (model,)), "strict")
    _, told_alone, embedded_alone = _look(tmp_path, "alone", Looking(Pictures(), (model,)))
    assert (loose.decoded, loose.forwards) == (4, 4)
    assert told.equals(told_alone)
    assert embedded["subject_id"].equals(embedded_alone["subject_id"])
    assert np.allclose(embedded["vector"].to_pylist(), embedded_alone["vector"].to_pylist(), atol=1e-2)


def test_another_model_embeds_the_same_pictures_beside_the_first(tmp_path: Path, model: FoundModel) -> None:
    folder = tmp_path / "other"
    shutil.copytree(Path(model.config).parent, folder)
    told = json.loads((folder / "open_clip_config.json").read_text())
    told["preprocess_cfg"]["resize_mode"] = "squash"
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    other = find_model(Model(name="other", path=str(folder)))
    part(tmp_path, [fetched(f"http://a/{k}.jpg", photo(k)) for k in range(5)])
    _look(tmp_path, "one", Looking(Pictures(), (model,)))
    both, _, embedded = _look(tmp_path, "both", Looking(Pictures(), (model, other)), "one")
    assert (both.decoded, both.forwards) == (5, 5)
    assert sorted(embedded["model"].to_pylist()) == sorted([model.identity, other.identity] * 5)


def test_heads_and_concepts_are_read_off_vectors_and_judge_after_them(tmp_path: Path, model: FoundModel) -> None:
    """The head says of each picture what its first coordinate is, so that what it must say is known."""
    part(tmp_path, [fetched(f"http://a/{k}.jpg", photo(k)) for k in range(12)])
    first, _, embedded = _look(tmp_path, "first", Looking(Pictures(), (model,)))
    unsafe = str(tmp_path / "unsafe.safetensors")
    layer = Layer(np.eye(1, 16, dtype=np.float32), np.zeros(1, np.float32))
    write_head(Network("unsafe", model.identity, (layer,), "none", "none"), unsafe)
    values = {row["subject_id"]: row["vector"][0] for row in embedded.to_pylist()}
    limit = float(np.median(list(values.values())))
    tags = TagList(Tagger(model)(TagJob("everyday", str(tmp_path / "tags.parquet"))), 3)
    filters = ({"filter": "image_unsafe", "limit": limit},)
    done, told, kept = _look(tmp_path, "second", Looking(Pictures(filters=filters), (model,), (unsafe,), tags), "first")
    assert (first.forwards, done.forwards) == (12, 0)
    for row in told.to_pylist():
        assert row["heads"] == ["unsafe"]
        assert row["head_values"] == [pytest.approx(values[row["image_id"]], abs=1e-6)]
        assert row["reason"] == ("image_unsafe" if values[row["image_id"]] >= limit else None)
        assert len(set(row["tags"])) == 3
        assert 1 > row["tag_probabilities"][0] >= row["tag_probabilities"][2] > 0
    assert kept.num_rows == 12


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


def test_a_picture_of_odd_shape_is_a_row_with_a_reason_and_stops_no_part(tmp_path: Path, model: FoundModel) -> None:
    strip = io.BytesIO()
    Image.new("RGB", (1, 400_000), "navy").save(strip, "PNG")
    rows = [fetched("http://a/strip.png", strip.getvalue()), fetched("http://a/1.jpg", photo(1))]
    seen = look(tmp_path, rows, Looker(Looking(Pictures(filters=FILTERS), (model,))))
    assert [row["reason"] for row in seen] == ["image_too_small", None]
