"""Captions are held against the vectors of their pictures for the objects that they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.captions.reading import CHECKS
from actors.captions.seeing import check_objects
from actors.models.objects import Seen
from actors.models.tagging import FACTS
from actors.models.tagging import SCHEMA as LIST
from filters.captioning import Objects

KEY = {"image_id": 7, "captioner": "coca", "model": "m", "prompt_language": None, "text_id": 1}
SCHEMA = pa.schema(
    [
        *(CHECKS.field(name) for name in (*KEY, "sample")),
        ("objects", pa.list_(pa.string())),
        ("vector", LIST.field(1).type),
    ]
)


def checked(folder: Path, *captions: tuple[list[str] | None, list[float] | None]) -> list[dict[str, Any]]:
    """What is told of captions that name objects, each beside the vector of its picture; dog, cat and bus are axes."""
    facts = {"model": "m", "scale": 10.0, "bias": 0.0, "sigmoid": False}
    axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    listed = pa.table([["dog", "cat", "bus"], axes], schema=LIST.with_metadata({FACTS: json.dumps(facts)}))
    pq.write_table(listed, folder / "objects.parquet")
    rows = [KEY | {"sample": n, "objects": named, "vector": vector} for n, (named, vector) in enumerate(captions)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "rows.parquet")
    seen = Seen(str(folder / "objects.parquet"))
    out = check_objects(str(folder / "rows.parquet"), seen, Objects(min_presence=0.6), str(folder / "out.parquet"))
    assert pq.read_schema(out) == CHECKS
    return sorted(pq.read_table(out).to_pylist(), key=lambda row: row["sample"])


def test_a_caption_goes_for_the_object_that_is_seen_least_surely(tmp_path: Path) -> None:
    dog = [0.8, 0.6, 0.0]
    rows = checked(tmp_path, (["dog"], dog), (["dog", "cat"], dog), (["dog", "bus"], dog), ([], dog))
    assert [row["reason"] for row in rows] == [None, None, "caption_absent_object", None]
    assert [row["metric"] for row in rows] == ["presence"] * 4
    assert rows[0]["value"] > rows[1]["value"] > 0.6 > rows[2]["value"]
    assert rows[2]["detail"].startswith("bus, presence 0.0")
    assert rows[3]["value"] is None


def test_what_is_on_a_picture_without_a_vector_is_not_taken_for_seen(tmp_path: Path) -> None:
    rows = checked(tmp_path, (["dog"], None), ([], None), (None, None), (["dog"], [1.0, 0.0, 0.0]))
    assert [row["reason"] for row in rows] == ["caption_absent_object", None, None, None]
    assert rows[0]["detail"] == "no vector"


def test_captions_none_of_which_has_a_vector_are_told_all_the_same(tmp_path: Path) -> None:
    assert [row["reason"] for row in checked(tmp_path, (["cat"], None))] == ["caption_absent_object"]
    assert checked(tmp_path) == []
