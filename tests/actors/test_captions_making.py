"""A caption part: a row for every caption of every picture, made once, whoever makes it and in whatever batches."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from actors.captions.making import SCHEMA, Captioned, CaptionJob, CaptionMaker
from actors.models.captioners.finding import find_captioner
from actors.models.captioners.protocol import FoundCaptioner
from actors.models.files import ModelMissing
from actors.models.layouts import CONFIG
from filters.captioning import Captioner

VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16, "output_tokens": True}
TEXT = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
MODEL = {"embed_dim": 32, "vision_cfg": VISION, "multimodal_cfg": TEXT, "custom_text": True}
MODEL |= {"text_cfg": TEXT | {"embed_cls": True, "output_tokens": True}}
PREPARED = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}


@pytest.fixture(scope="module")
def coca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CoCa of random weights in open_clip's layout."""
    folder = tmp_path_factory.mktemp("coca")
    (folder / CONFIG).write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPARED}))
    torch.manual_seed(5)
    model = open_clip.CoCa(**{key: value for key, value in MODEL.items() if key != "custom_text"})
    for one in model.parameters():
        if one.ndim > 1:
            torch.nn.init.normal_(one, std=0.3)
    save_file(
        {name: one.contiguous() for name, one in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


@pytest.fixture(scope="module")
def found(coca: Path) -> FoundCaptioner:
    return find_captioner(Captioner(name="tiny", path=str(coca), samples=3, tokens=9, prompts={"en": "a", "zh": "一"}))


def picture(number: int, side: int = 40) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side + number), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


class Shelf:
    """A fetched part of numbered pictures, and jobs on some of them."""

    def __init__(self, folder: Path, bodies: dict[int, bytes | None], rows: int = 3) -> None:
        self.folder, self.fetched = folder, str(folder / "fetched.parquet")
        urls = [f"http://pictures.test/{number}" for number in bodies]
        pq.write_table(pa.table({"url": urls, "bytes": pa.array(bodies.values(), pa.binary())}), self.fetched, rows)

    def job(self, numbers: list[int], name: str = "captions", earlier: tuple[str, ...] = ()) -> CaptionJob:
        pictures = self.folder / f"{name}-pictures.parquet"
        urls = [f"http://pictures.test/{number}" for number in numbers]
        pq.write_table(pa.table({"url": urls, "image_id": pa.array(numbers, pa.int64())}), pictures)
        return CaptionJob(self.fetched, str(pictures), str(self.folder / f"{name}.parquet"), earlier)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path, {number: picture(number) for number in range(8)})


def rows_of(part: str) -> list[dict[str, Any]]:
    table = pq.read_table(part)
    assert table.schema.equals(SCHEMA)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_every_prompt_and_sample_of_every_picture_asked_for_is_a_row(shelf: Shelf, found: FoundCaptioner) -> None:
    done = CaptionMaker(found, 1)(shelf.job([6, 1, 4]))
    rows = rows_of(done.out)
    assert done == Captioned(done.out, pictures=3, forwards=3, failed=0)
    assert [(row["image_id"], row["language"], row["sample"]) for row in rows] == [
        (number, language, sample) for number in (1, 4, 6) for language in ("en", "zh") for sample in range(3)
    ]
    assert {(row["captioner"], row["model"], row["seed"]) for row in rows} == {("tiny", found.identity, 0)}
    assert {row["prompt"] for row in rows if row["language"] == "zh"} == {"一"}
    assert all(row["raw"] and row["tokens"] and row["reason"] is None for row in rows)
    assert len({row["raw"] for row in rows}) > len(rows) / 2  # samples and pictures differ


def test_captions_are_those_of_any_other_batch_and_of_any_other_company(shelf: Shelf, found: FoundCaptioner) -> None:
    together = rows_of(CaptionMaker(found, 1)(shelf.job(list(range(8)))).out)
    alone = [
        row for number in range(8) for row in rows_of(CaptionMaker(found, 2)(shelf.job([number], f"{number}")).out)
    ]
    assert alone == together


def test_what_an_earlier_part_holds_is_not_asked_again(shelf: Shelf, found: FoundCaptioner) -> None:
    first = CaptionMaker(found, 1)(shelf.job([0, 1, 2], "first"))
    other = CaptionMaker(replace(found, identity="f" * 32), 1)(shelf.job([3], "other"))
    maker = CaptionMaker(found, 1)
    second = maker(shelf.job([0, 1, 2, 3], "second", (other.out, first.out, first.out)))
    assert (second.pictures, second.forwards) == (4, 1)
    assert rows_of(second.out)[: len(rows_of(first.out))] == rows_of(first.out)
    assert len(rows_of(second.out)) == 4 * 6
    assert maker(shelf.job([3, 0], "third", (second.out,))).forwards == 0


def test_a_part_that_holds_all_loads_no_model(shelf: Shelf, found: FoundCaptioner) -> None:
    first = CaptionMaker(found, 1)(shelf.job([0, 1], "first"))
    gone = replace(found, files=(("/nowhere/weights", "0" * 64),))
    again = CaptionMaker(gone, 1)(shelf.job([1], "again", (first.out,)))
    assert rows_of(again.out) == rows_of(first.out)[6:]
    with pytest.raises(ModelMissing, match="nowhere"):
        CaptionMaker(gone, 1)(shelf.job([2], "more", (first.out,)))


def test_a_picture_that_cannot_be_captioned_is_a_row_with_its_reason(tmp_path: Path, found: FoundCaptioner) -> None:
    shelf = Shelf(tmp_path, {1: picture(1), 2: picture(2)[:60], 3: b"<html>", 4: None, 6: picture(6)})
    done = CaptionMaker(found, 1)(shelf.job([1, 2, 3, 4, 5, 6]))
    reasons = {row["image_id"]: row["reason"] for row in rows_of(done.out)}
    assert reasons == {
        1: None,
        2: "image_truncated",
        3: "image_not_image",
        4: "caption_failed",
        5: "caption_failed",
        6: None,
    }
    assert (done.pictures, done.forwards, done.failed) == (6, 2, 4)
    assert all(row["detail"] and row["raw"] is None for row in rows_of(done.out) if row["reason"])


def test_what_failed_is_tried_again(tmp_path: Path, found: FoundCaptioner) -> None:
    broken = CaptionMaker(found, 1)(Shelf(tmp_path, {2: b"<html>"}).job([2], "broken"))
    whole = CaptionMaker(found, 1)(Shelf(tmp_path, {2: picture(2)}).job([2], "whole", (broken.out,)))
    assert (whole.forwards, whole.failed) == (1, 0)


def test_pictures_are_shown_upright(tmp_path: Path, found: FoundCaptioner) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(lambda file: Image.fromarray(np.rot90(pixels)).save(file, "PNG", exif=exif))
    upright = encoded(lambda file: Image.fromarray(pixels).save(file, "PNG"))
    said = rows_of(CaptionMaker(found, 1)(Shelf(tmp_path, {1: turned}).job([1], "turned")).out)
    assert said == rows_of(CaptionMaker(found, 1)(Shelf(tmp_path, {1: upright}).job([1], "upright")).out)


def encoded(save: Callable[[io.BytesIO], None]) -> bytes:
    file = io.BytesIO()
    save(file)
    return file.getvalue()
