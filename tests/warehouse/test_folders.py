"""An img2dataset folder is read like a log: whole shards only, in their order, each URL once and refusals first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse.errors import SourceError
from warehouse.export import export_release
from warehouse.ingest import ingest, source_hash
from warehouse.shards import find_shards, shard_hash, wanted_parts

if TYPE_CHECKING:
    from conftest import World

Row = dict[str, Any]
REFUSED = "Use of image disallowed by X-Robots-Tag directive"


def _row(key: str, url: str, *, failed: str | None = None, **more: Any) -> Row:
    status = "failed_to_download" if failed else "success"
    return {"url": url, "caption": f"a text of {key}", "key": key, "status": status, "error_message": failed, **more}


def _shard(folder: Path, name: str, rows: Sequence[Row], *, stats: bool = True, form: str = "webdataset") -> None:
    table = pa.Table.from_pylist(list(rows))
    if form == "parquet":
        table = table.append_column("jpg", pa.array([b"bytes of " + row["key"].encode() for row in rows], pa.binary()))
    if form == "webdataset":
        (folder / f"{name}.tar").write_bytes(bytes(1024))
    pq.write_table(table, folder / f"{name}.parquet", row_group_size=100)
    if stats:
        (folder / f"{name}_stats.json").write_text(json.dumps({"count": len(rows), "end_time": 1_700_000_000.5}))


def _read(world: World, folder: Path, limit: int | None = None) -> list[Row]:
    out = str(world.folder() / "candidates.parquet")
    ingest(str(folder), out, world.warehouse, limit=limit)
    return world.rows_in(out)


def _url(number: int) -> str:
    return f"http://a.example/{number}.jpg"


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_rows_stand_in_the_order_of_shards_and_keys(bare: World, form: str) -> None:
    folder = bare.folder()
    # as img2dataset leaves them: in the order in which the pictures came
    _shard(folder, "100000", [_row("1000000000", _url(4))], form=form)
    _shard(folder, "99999", [_row("999990001", _url(3)), _row("999990000", _url(2))], form=form)
    _shard(folder, "00000", [_row("000000001", _url(1)), _row("000000000", _url(0))], form=form)
    read = _read(bare, folder)
    assert [row["url"] for row in read] == [_url(n) for n in range(5)]
    assert [row["source_row"] for row in read] == list(range(5))
    assert [row["url"] for row in _read(bare, folder, limit=3)] == [_url(n) for n in range(3)]


def test_the_order_holds_beyond_what_one_thread_reads(bare: World) -> None:
    folder, size = bare.folder(), 40_000
    for shard in range(4):
        keys = [f"{shard:05d}{n:05d}" for n in reversed(range(size))]
        rows = {"url": [f"http://a.example/{key}" for key in keys], "key": keys, "caption": keys}
        pq.write_table(pa.table(rows), folder / f"{shard:05d}.parquet")
        (folder / f"{shard:05d}.tar").touch()
        (folder / f"{shard:05d}_stats.json").write_text("{}")
    read = _read(bare, folder)
    assert [row["source_row"] for row in read] == list(range(4 * size))
    assert [row["alt"] for row in read] == sorted(row["alt"] for row in read)


def test_a_caption_is_an_alt_text_unless_there_is_one_and_columns_of_a_log_are_themselves(bare: World) -> None:
    plain, full = bare.folder(), bare.folder()
    _shard(plain, "00000", [_row("000000000", _url(0))])
    mine: Row = {"alt": "my alt", "query": "my query", "impressions": 9, "clicks": 3, "source_row": 77}
    _shard(full, "00000", [_row("000000000", _url(0), **mine)])
    assert _read(bare, plain)[0]["alt"] == "a text of 000000000"
    assert {name: _read(bare, full)[0][name] for name in mine} == mine


def test_shards_with_other_columns_are_joined_by_name(bare: World) -> None:
    folder = bare.folder()
    _shard(folder, "00000", [_row("000000000", _url(0))])
    _shard(folder, "00001", [{"title": "my title", **_row("000010000", _url(1))}])
    assert [row["title"] for row in _read(bare, folder)] == [None, "my title"]


def test_both_forms_have_the_same_candidates(bare: World) -> None:
    folders = {form: bare.folder() for form in ("webdataset", "parquet")}
    for form, folder in folders.items():
        _shard(folder, "00000", [_row("000000000", _url(0)), _row("000000001", _url(1), failed="timed out")], form=form)
    assert _read(bare, folders["webdataset"]) == _read(bare, folders["parquet"])


def test_a_shard_without_stats_is_left_out_and_said_so(bare: World, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bare.folder()
    _shard(folder, "00000", [_row("000000000", _url(0))])
    _shard(folder, "00001", [_row("000010000", _url(1))], stats=False)
    assert [row["url"] for row in _read(bare, folder)] == [_url(0)]
    assert "left out: 00001 (1 shards)" in capsys.readouterr().err


def test_a_folder_that_cannot_be_read_says_what_to_do(bare: World) -> None:
    begun, bare_of_bytes, broken, foreign = (bare.folder() for _ in range(4))
    _shard(begun, "00000", [_row("000000000", _url(0))], stats=False)
    _shard(bare_of_bytes, "00000", [_row("000000000", _url(0))], form="files")
    (broken / "00000.parquet").write_bytes(b"PAR1 and no more")
    (broken / "00000_stats.json").touch()
    pq.write_table(pa.table({"a": [1]}), foreign / "0.parquet")
    (foreign / "0_stats.json").touch()
    (foreign / "0.tar").touch()
    said = {
        begun: "Let img2dataset finish",
        bare_of_bytes: "--output_format webdataset or parquet",
        broken: "Copy the shard again",
        foreign: "no columns `url` and `key`",
    }
    for folder, message in said.items():
        with pytest.raises(SourceError, match=message):
            _read(bare, folder)


@pytest.mark.parametrize("form", ["webdataset", "parquet"])
def test_the_hash_of_a_folder_is_that_of_its_content_wherever_it_lies(bare: World, form: str) -> None:
    first, copied, other, longer, grown = (bare.folder() for _ in range(5))
    rows = [_row(f"00000000{n}", _url(n)) for n in range(0, 10, 2)]
    changed = {**rows[2], "caption": "a text of 000000005"}  # no new extreme, which would show in the footer
    for folder in (first, copied, longer, grown):
        _shard(folder, "00000", rows, form=form)
    _shard(other, "00000", [*rows[:2], changed, *rows[3:]], form=form)
    _shard(grown, "00001", rows, form=form)
    with open(find_shards(longer)[0].pictures, "ab") as file:
        file.write(bytes(512))
    assert source_hash(copied) == source_hash(first)
    assert shard_hash(find_shards(grown)[0]) == shard_hash(find_shards(first)[0])  # it need not be read again
    if form == "webdataset":  # a Parquet file with something behind its end is none
        assert len({source_hash(one) for one in (first, other, longer, grown)}) == 4
    else:
        assert len({source_hash(one) for one in (first, other, grown)}) == 3


def test_a_url_is_wanted_once_with_its_refusal_or_else_its_bytes(bare: World) -> None:
    folder = bare.folder()
    _shard(folder, "00000", [_row("000000000", _url(0), failed="timed out"), _row("000000001", _url(1))])
    _shard(
        folder,
        "00001",
        [
            _row("000010000", _url(0)),
            _row("000010001", _url(1), failed=REFUSED),
            _row("000010002", _url(2), failed="timed out"),
            _row("000010003", _url(3)),
        ],
    )
    _shard(folder, "00002", [_row("000020000", _url(0)), _row("000020001", _url(2), failed="HTTP Error 404")])
    left = [{"candidate_id": n, "url": _url(n), "reason": "low_ctr" if n == 3 else None} for n in range(4)]
    wanted = wanted_parts(bare.warehouse, bare.sifted(left), folder, bare.folder())
    assert [one.shard.number for one in wanted] == [1]
    rows = bare.rows_in(wanted[0].part)
    assert [(row["key"], row["error_message"]) for row in rows] == [
        ("000010000", None),
        ("000010001", REFUSED),
        ("000010002", "timed out"),
    ]
    again = wanted_parts(bare.warehouse, bare.sifted(left), folder, Path(wanted[0].part).parent)
    assert again == wanted
    assert wanted[0].shard.written_at.timestamp() == 1_700_000_000.5


def test_a_large_shard_is_many_parts(bare: World) -> None:
    folder = bare.folder()
    _shard(folder, "00000", [_row(f"{n:09d}", _url(n)) for n in range(2100)])
    left = bare.sifted([{"candidate_id": n, "url": _url(n)} for n in range(2100)])
    wanted = wanted_parts(bare.warehouse, left, folder, bare.folder())
    assert [len(bare.rows_in(one.part)) for one in wanted] == [1000, 1000, 100]


def test_what_an_export_writes_is_a_folder_too(world: World) -> None:
    shown = {_url(n): world.shot(f"picture {n}", phash=0xFFFF << 16 * n) for n in range(3)}
    log = [{"candidate_id": n, "url": _url(n), "clicks": 1, "texts": [f"a text of {n}"]} for n in range(3)]
    world.publish(world.mill(log, dict(shown)), "first")
    out = world.folder() / "shards"
    assert list(export_release(world.warehouse, "first", str(out))) == [("00000.tar", 3)]
    read = _read(world, out)
    assert {(row["url"], row["alt"]) for row in read} == {(_url(n), f"a text of {n}") for n in range(3)}
    (wanted,) = wanted_parts(world.warehouse, world.sifted(read), out, world.folder())
    assert [row["status"] for row in world.rows_in(wanted.part)] == ["success"] * 3
