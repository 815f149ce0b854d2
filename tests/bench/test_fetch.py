"""Every contestant of bench.fetch takes every picture, and what is said of it can be compared."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pycurl
import pytest

from bench import bare, processes, site, source
from bench.errand import Errand
from bench.fetch import Figures, compare, write_parts
from bench.watched import ContestantFailed, held
from filters.recipe import Fetch

PICTURES = 200


@cache
def _told() -> list[dict[str, Any]]:
    words = [sys.executable, "-m", "bench.fetch", "--json", "--rounds", "1", "--pictures", str(PICTURES)]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def _figures() -> list[dict[str, Any]]:
    return [told for told in _told() if "contestant" in told]


def test_every_contestant_fetches_every_picture() -> None:
    assert {one["contestant"]: one["fetched"] for one in _figures()} == dict.fromkeys(
        ("ours", "img2dataset", "pycurl"), PICTURES
    )


@pytest.mark.parametrize("column", ["rate", "cpu_s", "start_s", "whole_s", "largest", "together"])
def test_every_figure_is_above_nothing(column: str) -> None:
    assert all(one[column] > 0 for one in _figures())


def test_ratios_are_finite_and_larger_ones_are_better() -> None:
    faster, cheaper = (told for told in _told() if "work" in told)
    assert faster["ratio"] == pytest.approx(faster["ours"] / faster["peer"])
    assert cheaper["ratio"] == pytest.approx(cheaper["peer"] / cheaper["ours"])
    assert all(0 < line["ratio"] < math.inf for line in (faster, cheaper))


def test_the_ratio_is_the_median_of_the_rounds_own() -> None:
    rounds = [
        {"ours": 80.0, "img2dataset": 10.0},
        {"ours": 20.0, "img2dataset": 20.0},
        {"ours": 90.0, "img2dataset": 10.0},
    ]
    figures = [
        _figure(name, n, rate) for n, rates in enumerate(rounds) for name, rate in (rates | {"pycurl": 1}).items()
    ]
    assert compare(figures)[0].ratio == 8.0


def test_a_contestant_that_ends_before_it_begins_is_no_measurement(tmp_path: Path) -> None:
    errand = Errand(str(tmp_path), str(tmp_path), (), 1, "{}")
    with pytest.raises(ContestantFailed, match="before its first request"):
        held("bench.none", errand, 1)


def test_a_bare_loop_that_misses_a_picture_is_no_measurement(tmp_path: Path) -> None:
    source.build_photos(tmp_path, 2)
    with site.serve(tmp_path, 1) as (address,):
        write_parts([f"{address}/{source.photo(row)}" for row in range(3)], tmp_path / "parts")
        errand = Errand(str(tmp_path / "parts"), str(tmp_path), (), 1, Fetch().model_dump_json())
        with pytest.raises(ContestantFailed, match="ended with 1"):
            held("bench.bare", errand, 1)


@pytest.fixture(params=["nginx", "asyncio"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "nginx" and site.server_name() != "nginx":
        pytest.skip("nginx is not installed here")
    source.build_photos(tmp_path, 3)
    with (site.serve if request.param == "nginx" else site.serve_faulty)(tmp_path, 1) as (address,):
        yield address


def test_the_site_keeps_a_connection_open_for_who_wants_it(address: str, tmp_path: Path) -> None:
    handle = pycurl.Curl()
    bodies: list[bytes] = []
    for row in range(3):
        handle.setopt(pycurl.URL, f"{address}/{source.photo(row)}")
        handle.setopt(pycurl.NOPROXY, "*")
        bodies.append(handle.perform_rb())
        assert handle.getinfo(pycurl.NUM_CONNECTS) == (row == 0)
    assert bodies == [(tmp_path / source.photo(row)).read_bytes() for row in range(3)]


def test_the_site_has_no_robots_txt(address: str) -> None:
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, f"{address}/robots.txt")
    handle.setopt(pycurl.NOPROXY, "*")
    handle.perform_rb()
    assert handle.getinfo(pycurl.RESPONSE_CODE) == 404


def test_photos_are_as_large_as_those_of_the_web_and_their_names_differ(tmp_path: Path) -> None:
    source.build_photos(tmp_path, source.PHOTOS + 20)
    sizes = Counter({file.name: file.stat().st_size for file in (tmp_path / "files").iterdir()})
    assert len(sizes) == source.PHOTOS + 20
    assert sizes.total() / len(sizes) == pytest.approx(66_000, rel=0.05)


def test_cpu_of_children_that_have_ended_is_counted(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    before = processes.cpu_s(os.getpid())
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert processes.cpu_s(os.getpid()) - before >= 0.45


def test_the_bare_loop_takes_every_url_once(tmp_path: Path) -> None:
    source.build_photos(tmp_path, 150)
    with site.serve(tmp_path, 1) as (address,):
        urls = [f"{address}/{source.photo(row)}" for row in range(150)]
        bodies = dict(bare.loop(urls))
    assert bodies == {url: (tmp_path / url.removeprefix(f"{address}/")).read_bytes() for url in urls}


def _figure(name: str, round_: int, rate: float) -> Figures:
    return Figures(name, round_, 1, rate, 1.0, 1.0, 1.0, 1.0, 1, 1)
