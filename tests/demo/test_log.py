"""The demo's site and click log."""

import io
import json
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from demo import log
from demo.site import serve


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    log.build(folder, rows=400, seed=5)
    return folder


def _rows(site: Path, base: str = log.SITE) -> list[tuple[str, log.Row]]:
    truth = pq.read_table(site / "truth.parquet")["truth"].to_pylist()
    return list(zip(truth, pq.read_table(log.live_log(site, base)).to_pylist(), strict=True))


def test_the_same_seed_gives_the_same_log_and_files(site: Path, tmp_path: Path) -> None:
    log.build(tmp_path, rows=400, seed=5)
    for name in ("rows.parquet", "truth.parquet", "routes.json"):
        assert (tmp_path / name).read_bytes() == (site / name).read_bytes()
    assert {f.name for f in (tmp_path / "files").iterdir()} == {f.name for f in (site / "files").iterdir()}


def test_what_is_built_is_left_alone(site: Path) -> None:
    before = (site / "rows.parquet").stat().st_mtime_ns
    log.build(site, rows=400, seed=5)
    assert (site / "rows.parquet").stat().st_mtime_ns == before


def test_every_kind_of_row_is_there_and_as_many_right_as_wrong(site: Path) -> None:
    kinds = [kind for kind, _ in _rows(site)]
    assert len(kinds) == 400
    assert set(kinds) == set(log.KINDS)
    assert abs(kinds.count("true") - kinds.count("wrong")) <= 1


def test_rows_say_what_the_site_answers(site: Path) -> None:
    with serve(site) as base:
        asked = {kind: row["url"] for kind, row in _rows(site, base)}
        picture = urllib.request.urlopen(asked["redirect"]).read()
        assert Image.open(io.BytesIO(picture)).width >= 256
        assert urllib.request.urlopen(asked["opted_out"]).headers["X-Robots-Tag"] == "noai"
        assert b"Disallow: /private/" in urllib.request.urlopen(f"{base}/robots.txt").read()
        assert asked["robots"].startswith(f"{base}/private/")
        for kind, status in (("status_404", 404), ("status_500", 500)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(asked[kind])
            assert refused.value.code == status
        short = urllib.request.urlopen(asked["short_body"])
        assert int(short.headers["Content-Length"]) > len(short.read(1 << 20))
        with pytest.raises(OSError, match="truncated"):
            Image.open(io.BytesIO(urllib.request.urlopen(asked["cut"]).read())).load()


def test_the_site_keeps_its_port_and_ends_with_its_context(site: Path) -> None:
    with serve(site) as first:
        pass
    with serve(site) as second:
        assert first == second
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.1", int(first.rsplit(":", 1)[1])), 1),
    ):
        pass


def test_another_owner_of_the_port_moves_the_site_and_the_log(site: Path) -> None:
    with serve(site) as first, serve(site) as second:
        assert first != second
        log.live_log(site, first)
        assert {row["url"].startswith(second) for kind, row in _rows(site, second) if kind == "true"} == {True}


def test_people_clicked_on_wrong_rows_often_enough_to_pass(site: Path) -> None:
    for kind, row in _rows(site):
        rate = (row["clicks"] + 1) / (row["impressions"] + 100)
        if kind in ("true", "wrong"):
            assert rate >= 0.01
            assert row["impressions"] >= 10
        if kind == "low_ctr":
            assert rate < 0.01


def test_held_out_pairs_are_of_scenes_that_the_log_never_shows(site: Path) -> None:
    held = pq.read_table(log.held_out(site, 40, seed=5)).to_pylist()
    shown = {file.read_bytes() for file in (site / "files").iterdir()}
    assert len(held) == 40
    assert not any(pair["bytes"] in shown for pair in held)
    assert sum(pair["text"].isascii() for pair in held) == 20


def test_the_raw_pool_is_all_that_opens_with_all_its_texts(site: Path) -> None:
    pool = pq.read_table(log.raw_pool(site)).to_pylist()
    kinds = [kind for kind, _ in _rows(site)]
    gone = ("status_404", "status_500", "redirect", "redirect_loop", "cut", "short_body", "html", "forbidden")
    textless = json.loads((site / "routes.json").read_text())
    assert len(textless) > 300
    expected = sum(kind not in gone for kind in kinds)
    assert expected - kinds.count("malformed") <= len(pool) <= expected
    assert all(len(row["texts"]) == len(row["weights"]) > 0 for row in pool)
