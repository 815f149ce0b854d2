"""Captions are read for what they say, and each measure of their words is told with its value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.captions.making import SCHEMA
from actors.captions.reading import CHECKS, WORDS, CaptionReader
from filters import Filter
from filters.captioning import CaptionChecks, Objects
from filters.chosen import chosen
from warehouse import schemas
from warehouse.ids import content_id

LOOP = "a dog and a dog and a dog and a dog and a dog and a dog"


def read(
    folder: Path, checks: CaptionChecks, *captions: dict[str, Any], filters: Sequence[Filter] = ()
) -> tuple[list[Any], list[Any]]:
    """The rows of words and of checks that come of captions of one picture."""
    rows = [
        {"image_id": 7, "captioner": "coca", "model": "m", "sample": place, "prompt": "", "seed": 0, "tokens": 9}
        | {"ended": True, **one}
        for place, one in enumerate(captions)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "part.parquet")
    words, told = CaptionReader(checks, filters, {"m": "mine"})(str(folder / "part.parquet"), folder / "read")
    return pq.read_table(words).to_pylist(), pq.read_table(told).to_pylist()


def fates(checks: list[Any]) -> dict[int, tuple[str, str, str]]:
    return {row["sample"]: (row["metric"], row["reason"], row["detail"]) for row in checks if row["reason"]}


def test_a_caption_becomes_the_text_that_joins_the_pairs(tmp_path: Path) -> None:
    (one,), checks = read(tmp_path, CaptionChecks(), {"raw": "This image shows  a red bus.", "language": "en"})
    assert (one["norm"], one["raw"], one["language"]) == ("a red bus.", "This image shows  a red bus.", "en")
    assert (one["text_id"], one["prompt_language"]) == (content_id(b"a red bus."), "en")
    told = {row["metric"]: (row["value"], row["reason"], row["detail"]) for row in checks}
    assert told["length"] == (3.0, None, None)
    assert told["repetition"] == (0.0, None, None)
    assert told["opening"] == (None, None, "This image shows")


def test_each_fault_stands_at_the_measure_that_found_it(tmp_path: Path) -> None:
    _, checks = read(
        tmp_path,
        CaptionChecks(length=14),
        {"raw": LOOP},
        {"raw": "a small white boat with a tall mast lies beside an old pier in the harbour"},
        {"raw": "a red bus stops at", "ended": False},
        {"raw": "this image shows"},
        {"raw": "一辆红色的公交车停在路边"},
    )
    told = fates(checks)
    assert {sample: told[sample][:2] for sample in told} == {
        0: ("repetition", "caption_repetitive"),
        1: ("length", "caption_too_long"),
        2: ("length", "caption_too_long"),
        3: ("opening", "caption_empty"),
    }
    assert "16 words or Han characters > 14" in told[1][2]


def test_a_picture_without_a_caption_is_a_row_with_its_reason(tmp_path: Path) -> None:
    failed = {"raw": None, "sample": None, "ended": None, "reason": "caption_failed", "detail": "not decoded"}
    words, checks = read(tmp_path, CaptionChecks(), failed, {"raw": "a bus"})
    assert [row["norm"] for row in words] == ["a bus"]
    assert [(row["metric"], row["detail"]) for row in checks if row["reason"]] == [("written", "not decoded")]


@pytest.mark.parametrize("asked", [None, Objects()])
def test_objects_are_named_only_where_a_check_asks(tmp_path: Path, asked: Objects | None) -> None:
    (one, two), _ = read(
        tmp_path, CaptionChecks(objects=asked), {"raw": "two dogs and a hot dog"}, {"raw": "一只狗和一辆汽车"}
    )
    assert (one["objects"], two["objects"]) == ((None, None) if asked is None else (["dog", "hot-dog"], ["dog", "car"]))


def test_what_people_may_not_say_models_may_not_say_either(tmp_path: Path) -> None:
    filters = chosen([{"filter": "text_boilerplate", "urls": 1}, {"filter": "text_pii"}], "text")
    _, checks = read(
        tmp_path, CaptionChecks(), {"raw": "一张写着电话13812345678的海报"}, {"raw": "a red bus"}, filters=filters
    )
    assert {sample: told[:2] for sample, told in fates(checks).items()} == {0: ("text", "text_pii")}


def test_a_captioner_is_called_as_this_recipe_calls_it(tmp_path: Path) -> None:
    words, checks = read(tmp_path, CaptionChecks(), {"raw": "a bus"}, {"raw": "a van", "model": "other"})
    assert [row["captioner"] for row in words] == ["mine", "coca"]
    assert {row["captioner"] for row in checks} == {"mine", "coca"}


def test_parts_have_the_columns_that_the_warehouse_reads() -> None:
    def names(columns: str) -> list[str]:
        return [one.split(" ")[0] for one in columns.split(", ")]

    assert WORDS.names == names(schemas.CAPTION_WORDS)
    assert CHECKS.names == names(schemas.CAPTION_CHECKS)
    assert SCHEMA.names == names(schemas.CAPTIONS)
