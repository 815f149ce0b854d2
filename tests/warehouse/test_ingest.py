"""A log is read alike in every format, whatever its order, and a broken one is told in three lines."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.errors import SourceError
from warehouse.ingest import ingest

if TYPE_CHECKING:
    from conftest import World

Row = dict[str, Any]
COLUMNS = ("url", "page_url", "query", "title", "impressions", "clicks", "ts")
LOG: list[Row] = [
    dict(zip(COLUMNS, values, strict=True))
    for values in (
        ("http://a.example/1.jpg", None, 'red, "big" bicycle', "a\ttitle", 120, 7, "2024-01-01T00:00:00Z"),
        ("http://a.example/2.jpg", "http://a.example/", "一只猫坐在窗台上", None, 15, 0, "2024-01-01 00:00:00"),
        ("http://a.example/2.jpg", "http://a.example/", "一只猫坐在窗台上", None, 15, 0, "2024-01-01 00:00:00"),
        (None, None, "007", "6F9619FF-8B86-D011-B42D-00C04FC964FF", None, None, None),
        ("http://a.example/3.jpg", None, "two\nlines", "", 10, 10, None),
    )
]


def _parquet(rows: Sequence[Row], path: Path) -> None:
    kinds = {"impressions": pa.int64(), "clicks": pa.int64()}
    columns = {name: pa.array([row[name] for row in rows], kinds.get(name, pa.string())) for name in rows[0]}
    pq.write_table(pa.table(columns), path)


def _separated(rows: Sequence[Row], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="," if path.suffix == ".csv" else "\t")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def _lines(rows: Sequence[Row], path: Path) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


WRITERS: dict[str, Callable[[Sequence[Row], Path], None]] = {
    ".parquet": _parquet,
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _lines,
    ".ndjson": _lines,
}


def _log(world: World, rows: Sequence[Row], suffix: str = ".parquet", *, packed: bool = False) -> Path:
    """A log file of the rows."""
    path = world.folder() / f"log{suffix}"
    WRITERS[suffix](rows, path)
    if packed:
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as file:
            shutil.copyfileobj(plain, file)
        return Path(f"{path}.gz")
    return path


def _read(world: World, source: Path, limit: int | None = None) -> list[Row]:
    out = str(world.folder() / "candidates.parquet")
    ingest(str(source), out, world.warehouse, limit=limit)
    return world.rows_in(out)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("suffix", list(WRITERS))
def test_every_format_gives_the_same_ids_and_values(bare: World, suffix: str, packed: bool) -> None:
    read = _read(bare, _log(bare, LOG, suffix, packed=packed))
    expected = _read(bare, _log(bare, LOG))
    assert read == expected
    assert [row["source_row"] for row in read] == [0, 1, 2, 3, 4]
    assert read[0]["query"] == LOG[0]["query"]
    assert read[0]["impressions"] == 120
    assert read[3]["title"] == LOG[3]["title"]


def test_equal_rows_get_ids_of_their_own(bare: World) -> None:
    ids = [row["candidate_id"] for row in _read(bare, _log(bare, LOG * 3))]
    assert len(set(ids)) == 15
    assert all(0 <= one < 1 << 63 for one in ids)


FIELD = st.one_of(st.none(), st.sampled_from(["a", "b", "\x1f", "\x1e", "a\x1fb", "猫", " "]))
ROWS = st.lists(
    st.fixed_dictionaries({"url": FIELD, "query": FIELD, "title": FIELD, "clicks": st.sampled_from([None, 1, 12])}),
    min_size=1,
    max_size=12,
)


@settings(max_examples=12, deadline=None)
@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_change_the_set_of_ids(bare: World, rows: list[Row], order: Any) -> None:
    first = _read(bare, _log(bare, rows))
    moved = list(rows)
    order.shuffle(moved)
    second = _read(bare, _log(bare, moved))
    ids = {row["candidate_id"] for row in first}
    assert len(ids) == len(rows)
    assert ids == {row["candidate_id"] for row in second}


def test_a_column_of_nulls_is_an_absent_column(bare: World) -> None:
    held = [{"url": "http://a.example/1.jpg", "query": "a cat", "title": None, "clicks": None}]
    without = [{"url": "http://a.example/1.jpg", "query": "a cat"}]
    assert _read(bare, _log(bare, held)) == _read(bare, _log(bare, without))


def test_the_source_row_column_is_used_and_is_no_part_of_the_id(bare: World) -> None:
    numbered = [{**row, "source_row": 100 + place} for place, row in enumerate(LOG)]
    read = _read(bare, _log(bare, numbered, ".jsonl"))
    assert [row["source_row"] for row in read] == [100, 101, 102, 103, 104]
    assert [row["candidate_id"] for row in read] == [row["candidate_id"] for row in _read(bare, _log(bare, LOG))]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_count_that_is_no_number_is_a_fault_of_its_row_alone(bare: World, suffix: str) -> None:
    # the odd one stands where a sniffer of types has long made up its mind
    rows: list[Row] = [{"url": f"http://a.example/{n}.jpg", "impressions": 12, "clicks": 3} for n in range(30_000)]
    rows[29_000]["clicks"] = "n/a"
    read = _read(bare, _log(bare, rows, suffix))
    assert [row["source_row"] for row in read if row["fault"]] == [29_000]
    assert read[29_000]["fault"] == "clicks n/a is not a number"
    assert read[29_000]["clicks"] is None
    assert [row["source_row"] for row in read] == list(range(30_000))
    assert read[20_001]["url"] == "http://a.example/20001.jpg"


def test_a_limit_takes_the_first_rows(bare: World) -> None:
    assert _read(bare, _log(bare, LOG, ".csv"), limit=2) == _read(bare, _log(bare, LOG, ".csv"))[:2]


def test_a_file_named_like_a_pattern_is_one_file(bare: World) -> None:
    folder = bare.folder()
    for name in ("log-*.csv", "log-[1].csv", "log-1.csv", "log-2.csv"):
        (folder / name).write_text(f"url,query\nhttp://{name[4]}.example/,a cat\n")
    assert len(_read(bare, folder / "log-*.csv")) == 1
    assert _read(bare, folder / "log-[1].csv")[0]["url"] == "http://[.example/"


def test_a_whole_parquet_file_that_lost_its_end_is_told(bare: World) -> None:
    source = _log(bare, LOG)
    source.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(SourceError, match=r"log\.parquet cannot be read"):
        _read(bare, source)


def test_a_folder_without_shards_is_no_log(bare: World) -> None:
    with pytest.raises(SourceError, match="is a folder without shards"):
        _read(bare, bare.folder())


def test_what_looks_like_a_comment_an_index_or_a_date_is_text(bare: World) -> None:
    source = bare.folder() / "log.csv"
    source.write_bytes(b"\xef\xbb\xbf,url,query,query\r\n0,#1.jpg,2024-01-02,other\r\n1,#2.jpg,#red,other\r\n")
    read = _read(bare, source)
    assert [(row["url"], row["query"]) for row in read] == [("#1.jpg", "2024-01-02"), ("#2.jpg", "#red")]


UNREAD = "cannot be read"
LONG = b"url,query\n" + b"a,b\n" * 40
BROKEN: dict[str, tuple[str, bytes | None, str]] = {
    "no such file": ("none.csv", None, "There is no file"),
    "an unknown suffix": ("log.xlsx", b"url", "suffix"),
    "nothing in it": ("log.csv", b"", "is empty"),
    "nothing in the gzip": ("log.jsonl.gz", gzip.compress(b""), "log.jsonl.gz"),
    "a header only": ("log.csv", b"url,query\n", "no rows"),
    "no url column": ("log.csv", b"link,query\nhttp://a,b\n", "no column `url`; it has link, query"),
    "no url column, gzipped": (
        "log.tsv.gz",
        gzip.compress(b"link\tquery\na\tb\n"),
        "no column `url`; it has link, query",
    ),
    "no url key": ("log.jsonl", b'{"link": "http://a"}\n', "no column `url`; it has link"),
    "Parquet cut short": ("log.parquet", b"PAR1" + b"x" * 90, UNREAD),
    "a field too many": ("log.csv", LONG + b"a,b,c\n", "Line: 42"),
    "a field too few": ("log.csv", LONG + b"a\n", "Line: 42"),
    "an open quote": ("log.csv", LONG + b'"a,b\n', "Line: 42"),
    "another encoding": ("log.csv", "url,query\na,照片\n".encode("gbk"), UNREAD),
    "another encoding's header": ("log.csv", "地址,url\nb,照片\n".encode("gbk"), UNREAD),
    "JSON cut short": ("log.jsonl", b'{"url": "a"}\n{"url": "b', UNREAD),
    "gzip cut short": ("log.csv.gz", gzip.compress(b"url\na\n" * 99)[:-4], UNREAD),
    "gzip with a bit turned": ("log.parquet.gz", gzip.compress(b"url\na\n" * 99)[:12] + b"\xff" * 30, UNREAD),
    "no gzip": ("log.parquet.gz", b"PAR1", UNREAD),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_log_that_cannot_be_read_is_told_with_the_next_step(bare: World, case: str) -> None:
    name, content, said = BROKEN[case]
    source, out = bare.folder() / name, bare.folder() / "candidates.parquet"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(SourceError, match=said) as told:
        ingest(str(source), str(out), bare.warehouse)
    assert 2 <= len(str(told.value).splitlines()) <= 3
    assert Counter(out.parent.glob("*")) == Counter(), "a part that stays is taken for one that was read"
