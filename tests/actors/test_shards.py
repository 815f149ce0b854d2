"""Pictures come out of a shard byte by byte, and a row without them says why, in words that give no address away."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.shards import ShardGone, ShardJob, ShardReader, failure_of
from actors.web.failure import Reason
from actors.web.parts import SCHEMA

Row = dict[str, Any]
THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BODIES = {f"{n:09d}": bytes([n]) * (1000 + n) for n in range(25)}


def _tar(path: Path, bodies: Mapping[str, bytes]) -> None:
    """As img2dataset's writer leaves it: picture, text and facts of each key in turn."""
    with tarfile.open(path, "w") as tar:
        for key, body in bodies.items():
            for suffix, data in (("txt", b"a text"), ("json", b"{}"), ("jpg", body)):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _parquet(path: Path, bodies: Mapping[str, bytes]) -> None:
    columns = {"key": list(bodies), "jpg": pa.array(list(bodies.values()), pa.binary())}
    pq.write_table(pa.table(columns), path, row_group_size=10)


def _rows(keys: Sequence[str], **more: Any) -> list[Row]:
    told = {"status": "success", "error_message": None, **more}
    return [{"url": f"http://a.example/{key}.jpg", "key": key, **told} for key in keys]


def _job(shard: Path, rows: Sequence[Row]) -> ShardJob:
    wanted = shard.with_name("wanted.parquet")
    names = ("url", "key", "status", "error_message")
    pq.write_table(pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in names}), wanted)
    column = "jpg" if shard.suffix == ".parquet" else None
    return ShardJob(str(shard), column, THEN, str(wanted), str(shard.with_name("part.parquet")))


def _read(shard: Path, rows: Sequence[Row], max_bytes: int = 1 << 20) -> dict[str, Row]:
    """The rows of the part by key."""
    part = ShardReader(max_bytes)(_job(shard, rows))
    assert pq.read_schema(part).names == SCHEMA.names
    read = pq.read_table(part).to_pylist()
    assert len(read) == len(rows)
    return {row["url"].rpartition("/")[2].removesuffix(".jpg"): row for row in read}


@pytest.fixture(params=["tar", "parquet"])
def shard(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"00000.{request.param}"
    (_tar if request.param == "tar" else _parquet)(path, BODIES)
    return path


def test_every_picture_is_what_was_put_in(shard: Path) -> None:
    read = _read(shard, _rows([*BODIES][3:23:2]))
    assert {key: row["bytes"] for key, row in read.items()} == {key: BODIES[key] for key in [*BODIES][3:23:2]}
    for row in read.values():
        assert row["sha256"] == hashlib.sha256(row["bytes"]).hexdigest()
        assert row["md5"] == hashlib.md5(row["bytes"]).hexdigest()
        assert (row["nbytes"], row["reason"], row["fetched_at"]) == (len(row["bytes"]), None, THEN)
        assert (row["attempts"], row["final_url"]) == (0, None)
        assert "not recorded" in row["consent"]


def test_both_forms_make_the_same_rows(tmp_path: Path) -> None:
    _tar(tmp_path / "0.tar", BODIES)
    _parquet(tmp_path / "0.parquet", BODIES)
    rows = _rows([*BODIES][::3])
    assert _read(tmp_path / "0.tar", rows) == _read(tmp_path / "0.parquet", rows)


def test_a_picture_over_the_bound_is_not_read(shard: Path) -> None:
    read = _read(shard, _rows([*BODIES]), max_bytes=1010)
    assert {key for key, row in read.items() if row["reason"] is None} == set([*BODIES][:11])
    assert {row["reason"] for row in read.values()} == {None, "fetch_too_large"}
    assert read["000000011"]["detail"] == "1011 bytes, over 1010 bytes"


def test_a_picture_that_is_not_there_is_incomplete(shard: Path) -> None:
    read = _read(shard, _rows(["000000001", "000000099"]))
    assert [read[key]["reason"] for key in ("000000001", "000000099")] == [None, "fetch_incomplete"]


@pytest.mark.parametrize("keep", [0, 100, 512, 3000, 20_000, 30_001])
def test_of_a_tar_that_was_cut_off_what_stands_before_the_cut_is_read(tmp_path: Path, keep: int) -> None:
    whole = tmp_path / "whole.tar"
    _tar(whole, BODIES)
    (tmp_path / "0.tar").write_bytes(whole.read_bytes()[:keep])
    read = _read(tmp_path / "0.tar", _rows([*BODIES]))
    held = {key: row["bytes"] for key, row in read.items() if row["reason"] is None}
    assert held == {key: BODIES[key] for key in held}
    assert {row["reason"] for key, row in read.items() if key not in held} == {"fetch_incomplete"}
    assert len(held) == len([*BODIES]) * keep // whole.stat().st_size or abs(len(held) - keep // 4096) <= 1


def test_a_tar_that_is_damaged_or_holds_links_gives_nothing_away(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"not a picture of this folder")
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for key, kind in (("000000000", tarfile.SYMTYPE), ("000000001", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(f"{key}.jpg")
            member.type, member.linkname = kind, str(tmp_path / "secret")
            tar.addfile(member)
    assert {row["reason"] for row in _read(tmp_path / "0.tar", _rows(["000000000", "000000001"])).values()} == {
        "fetch_incomplete"
    }
    (tmp_path / "1.tar").write_bytes(b"garbage" * 1000)
    assert _read(tmp_path / "1.tar", _rows(["000000000"]))["000000000"]["reason"] == "fetch_incomplete"


def test_of_a_parquet_file_with_a_broken_page_the_other_groups_are_read(tmp_path: Path) -> None:
    path = tmp_path / "0.parquet"
    _parquet(path, BODIES)
    chunk = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(data)
    read = _read(path, _rows([*BODIES]))
    assert [key for key, row in read.items() if row["reason"]] == [*BODIES][10:20]
    assert {row["reason"] for row in read.values()} == {None, "fetch_incomplete"}


def test_a_reader_goes_from_shard_to_shard(tmp_path: Path) -> None:
    reader = ShardReader(1 << 20)
    for name, body in (("0", b"first"), ("1", b"second"), ("0", b"first")):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        _tar(folder / "s.tar", {"000000000": body})
        part = reader(_job(folder / "s.tar", _rows(["000000000"])))
        assert pq.read_table(part)["bytes"].to_pylist() == [body]


def test_a_shard_that_is_gone_is_told_and_leaves_no_part(shard: Path) -> None:
    job = _job(shard, _rows(["000000000"]))
    shard.unlink()
    with pytest.raises(ShardGone, match="Put it back"):
        ShardReader(1 << 20)(job)
    assert [path.name for path in shard.parent.iterdir()] == ["wanted.parquet"]


@pytest.mark.parametrize(
    ("message", "reason", "detail"),
    [
        ("HTTP Error 404: Not Found", "fetch_http_status", "404"),
        ("HTTP Error 403: Forbidden", "fetch_http_status", "403"),
        (
            "HTTP Error 302: The HTTP server returned a redirect error that would lead to an infinite loop.",
            "fetch_redirects",
            "circle",
        ),
        ("Use of image disallowed by X-Robots-Tag directive", "fetch_opted_out", "X-Robots-Tag"),
        ("<urlopen error [Errno -2] Name or service not known>", "fetch_dns", "no address"),
        ("<urlopen error [Errno -3] Temporary failure in name resolution>", "fetch_dns", "no address"),
        ("<urlopen error [Errno 111] Connection refused>", "fetch_connect", "no connection"),
        ("Remote end closed connection without response", "fetch_connect", "no connection"),
        ("[Errno 104] Connection reset by peer", "fetch_connect", "no connection"),
        ("timed out", "fetch_timeout", "its time"),
        ("<urlopen error [Errno 110] Connection timed out>", "fetch_timeout", "its time"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "fetch_tls", "TLS"),
        ("<urlopen error unknown url type: ftp>", "fetch_bad_scheme", "scheme"),
        ("IncompleteRead(10 bytes read, 90 more expected)", "fetch_incomplete", "ended early"),
        ("hash mismatch", "fetch_failed", "hash"),
        ("URL can't contain control characters. '/?key=secret'", "fetch_failed", "error_message"),
        (None, "fetch_failed", "error_message"),
    ],
)
def test_what_img2dataset_recorded_becomes_a_reason(message: str | None, reason: str, detail: str) -> None:
    failure = failure_of("failed_to_download", message)
    assert failure.reason == reason
    assert detail in failure.detail
    assert not failure.transient
    assert "secret" not in failure.detail


def test_a_picture_that_img2dataset_could_not_resize_failed_with_its_words() -> None:
    assert str(failure_of("failed_to_resize", "image too small")) == "fetch_failed: failed_to_resize: image too small"
    assert failure_of(None, None).reason == "fetch_failed"


def test_a_refusal_keeps_its_evidence(shard: Path) -> None:
    message = "Use of image disallowed by X-Robots-Tag directive"
    row = _read(shard, _rows(["000000000"], status="failed_to_download", error_message=message))["000000000"]
    assert (row["reason"], row["bytes"]) == ("fetch_opted_out", None)
    assert row["consent"] == "img2dataset recorded: disallowed by X-Robots-Tag"


@given(st.text() | st.text().map("HTTP Error ".__add__))
def test_any_message_has_a_reason_and_none_is_told_on(message: str) -> None:
    failure = failure_of("failed_to_download", message + " /p?token=s3cr3t")
    assert failure.reason in get_args(Reason)
    assert "s3cr3t" not in failure.detail
