"""What people ask of a warehouse: SQL that only reads, why a row is where it is, and a release as files."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import webdataset

from warehouse import export
from warehouse.errors import UnknownRelease, WarehouseError
from warehouse.export import export_release
from warehouse.query import query, query_to
from warehouse.why import explain

if TYPE_CHECKING:
    from conftest import World

URLS = [f"http://a.example/{n}" for n in range(4)]


@pytest.fixture(scope="module")
def shop(made: Any) -> World:
    """A published release of two pictures: rows 1 and 4 kept, 2 a duplicate by a copied picture, 3 not fetched."""
    world: World = made()
    cat = world.shot("a cat's bytes", phash=0)
    log = [
        {
            "candidate_id": 1,
            "url": URLS[0],
            "texts": ["a cat on a mat", ("x", "text_too_short"), "一只猫"],
            "clicks": 7,
        },
        {"candidate_id": 2, "url": URLS[1], "texts": ["a cat on a mat"], "clicks": 3},
        {"candidate_id": 3, "url": URLS[2], "texts": ["a lost dog"]},
        {"candidate_id": 4, "url": URLS[3], "texts": ["a dog"]},
    ]
    shown = {URLS[0]: cat, URLS[1]: world.shot("copy", phash=0b111, width=10), URLS[2]: None}
    world.publish(world.mill(log, {**shown, URLS[3]: world.shot("a dog's bytes", phash=-1)}))
    return world


def test_sql_answers_with_names_and_rows(shop: World) -> None:
    names, rows = query(shop.warehouse, "SELECT outcome, count(*) AS n FROM ledger GROUP BY 1 ORDER BY 1")
    assert (names, rows) == (["outcome", "n"], [("kept", 2), ("rejected", 2)])


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger",
        "SELECT 1; DROP TABLE ledger",
        "CREATE TABLE t (a INTEGER)",
        "SELECT nothing FROM ledger",
        "?",
    ],
)
def test_sql_that_would_write_or_makes_no_sense_is_refused_with_a_message(shop: World, statement: str) -> None:
    with pytest.raises(WarehouseError, match="Only reading is allowed") as told:
        query(shop.warehouse, statement)
    assert len(str(told.value).splitlines()) <= 3
    assert query(shop.warehouse, "SELECT count(*) FROM ledger")[1] == [(4,)]


def test_an_answer_goes_to_parquet_or_csv(shop: World, tmp_path: Path) -> None:
    asked = "SELECT source_row, image_id FROM ledger ORDER BY source_row; -- all of it"
    with pytest.raises(WarehouseError, match=r"neither \.parquet nor \.csv"):
        query_to(shop.warehouse, asked, tmp_path / "answer.xlsx")
    asked = "SELECT source_row, image_id FROM ledger ORDER BY source_row -- all of it"
    expected = query(shop.warehouse, asked)[1]
    assert query_to(shop.warehouse, asked, tmp_path / "answer.parquet") == 4
    table = pq.read_table(tmp_path / "answer.parquet")
    assert [tuple(row.values()) for row in table.to_pylist()] == expected
    assert query_to(shop.warehouse, asked + "\n;", tmp_path / "answer.csv") == 4
    rows = list(csv.reader(io.StringIO((tmp_path / "answer.csv").read_text())))
    assert rows[0] == ["source_row", "image_id"]
    assert [(int(row), int(image) if image else None) for row, image in rows[1:]] == expected
    with pytest.raises(WarehouseError, match="Only reading"):
        query_to(shop.warehouse, "DELETE FROM ledger", tmp_path / "gone.csv")


def test_why_tells_a_kept_row_in_plain_words(shop: World) -> None:
    (told,) = explain(shop.warehouse, row=1)
    image = shop.shot("a cat's bytes").image_id
    assert told.about == f"row 1 of /logs/one.csv: {URLS[0]}"
    assert told.facts[:2] == [f"kept, as image {image} of the release first", "clicks: 7 of 100 impressions"]
    assert "query [en] 'a cat on a mat': may stay" in told.facts
    assert "title [en] 'x': text_too_short (told by the test)" in told.facts
    assert f"picture {image}: 300x300 jpeg, 13 bytes, fetched 2026-01-02 03:04 UTC" in told.facts
    assert "pair surrounding '一只猫', in first" in told.facts


def test_why_tells_a_rejected_and_a_duplicate_row(shop: World) -> None:
    (lost,) = explain(shop.warehouse, url=URLS[2])
    assert lost.facts[0] == "rejected at fetch: fetch_http_status (404 > 299)"
    (copy,) = explain(shop.warehouse, row=2)
    image = shop.shot("a cat's bytes").image_id
    assert copy.facts[0] == f"rejected at copies: duplicate (adds no new text to image {image})"
    assert f"a copy of image {image} by pdq, 12 of 256 bits differ" in copy.facts


def test_why_finds_every_row_of_a_picture_and_says_nothing_of_the_unknown(shop: World) -> None:
    image = shop.shot("a cat's bytes").image_id
    assert [re.findall(r"row (\d)", told.about) for told in explain(shop.warehouse, image=image)] == [["1"]]
    assert explain(shop.warehouse, url="http://nobody.example/") == []


def test_an_export_is_what_webdataset_reads(shop: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PICTURES_A_SHARD", 1)
    out = tmp_path / "out"
    assert list(export_release(shop.warehouse, "first", str(out))) == [("00000.tar", 1), ("00001.tar", 1)]
    tars = [str(path) for path in sorted(out.glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == ["000000000", "000010000"]
    by_text = {sample["txt"].decode(): sample for sample in samples}
    assert set(by_text) == {"a cat on a mat", "a dog"}
    cat = by_text["a cat on a mat"]
    assert cat["jpg"] == b"a cat's bytes"
    facts = json.loads(cat["json"])
    assert facts["image_id"] == shop.shot("a cat's bytes").image_id
    assert [(text["text"], text["role"]) for text in facts["texts"]] == [
        ("a cat on a mat", "query"),
        ("一只猫", "surrounding"),
    ]
    rows = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert [row["key"] for row in rows] == ["000000000", "000010000"]
    stats = json.loads((out / "00001_stats.json").read_text())
    assert (stats["count"], stats["successes"]) == (1, 1)


def test_an_export_never_overwrites_and_knows_its_release(shop: World, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(WarehouseError, match="is not empty"):
        list(export_release(shop.warehouse, "first", str(tmp_path)))
    with pytest.raises(UnknownRelease, match=r"no release none in .*; there are: first"):
        list(export_release(shop.warehouse, "none", str(tmp_path / "out")))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
