"""A fetch of a thousand rows is killed at ten moments: nothing is lost, and nobody is asked for what is known."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from warehouse.lake import connect

if TYPE_CHECKING:
    from conftest import Asked, Site

KINDS = {"ok": 755, "gone": 100, "optout": 80, "forbidden": 50, "stall": 15}
RECIPE: dict[str, Any] = {
    "name": "hurried",
    "click_through": None,
    "fetch": {"retries": 1, "deadline_s": 2.5},  # the site stalls for twice as long
    "copies": {"near_bits": None},
}
KILLS = 10
PARTS = 16
STANDS = "work/fetch/[!.]*.parquet"
SEED = 3
ORDER = ("worker", "group", "flow")
"""One after the other: the flow remembers whom it saw die, and a part that was alone twice then is set aside."""
SLIP_S = 1.0
"""What was answered so shortly before a kill may not have been noted, nor what an actor asked so shortly after its flow
was killed: it lives until Ray notices."""
PATIENCE_S = 400


@dataclass
class Kill:
    """When it was, in seconds of time.monotonic, and the paths of the parts that were finished before."""

    victim: str
    at: float
    finished: set[str]


@dataclass
class Disturbed:
    """A milled log: what its ledger says, what was asked for it, and the kills that it went through."""

    ledger: list[tuple[Any, ...]]
    asked: list[Asked]
    kills: list[Kill] = field(default_factory=list)
    actors: set[int] = field(default_factory=set)


@pytest.fixture(scope="module")
def log(open_site: Callable[[], Site], tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Path]:
    folder, site = tmp_path_factory.mktemp("kill"), open_site()
    site.slow_s = 0.05
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    urls = [site.url(kind, n) for n, kind in enumerate(kinds)]
    words = [f"words about picture {n}" for n in range(len(urls))]
    pq.write_table(pa.table({"url": urls, "query": words}), folder / "log.parquet")
    (folder / "hurried.yaml").write_text(yaml.safe_dump(RECIPE))
    return site, folder


def _start(home: Path, log: tuple[Site, Path], lake: Path) -> subprocess.Popen[str]:
    """The command, in a process group of its own."""
    site, folder = log
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    words = ["curate", str(folder / "log.parquet"), "--recipe", str(folder / "hurried.yaml"), "--workers", "2"]
    command = [sys.executable, "-m", "app", *words, "--warehouse", str(lake), "--allow-host", site.host]
    said = open(folder / f"{lake.name}.err", "a")  # noqa: SIM115 - the process has it
    return subprocess.Popen(command, env=environment, stdout=said, stderr=said, text=True, start_new_session=True)


def _ended(running: subprocess.Popen[str], log: tuple[Site, Path], lake: Path) -> None:
    assert running.wait(PATIENCE_S) == 0, (log[1] / f"{lake.name}.err").read_text()[-3000:]


def _ledger(lake: Path) -> list[tuple[Any, ...]]:
    with connect(str(lake), read_only=True) as con:
        asked = "SELECT candidate_id, source_row, url, outcome, stage, reason, image_id, release FROM ledger"
        return con.execute(f"{asked} ORDER BY source_row").fetchall()


@pytest.fixture(scope="module")
def calm(own_home: Path, log: tuple[Site, Path]) -> Disturbed:
    """The log milled by a run that nobody disturbs."""
    lake = log[1] / "calm"
    _ended(_start(own_home, log, lake), log, lake)
    return Disturbed(_ledger(lake), list(log[0].asked))


@pytest.fixture(scope="module")
def killed(own_home: Path, log: tuple[Site, Path], calm: Disturbed) -> Disturbed:
    """The log milled by a run that is killed again and again, and started again where it is over.

    Each time a random number of parts is finished: an actor that is killed takes those in work with it.
    """
    site, lake, before = log[0], log[1] / "killed", len(log[0].asked)
    chance, kills, actors = random.Random(SEED), list[Kill](), set[int]()
    running = _start(own_home, log, lake)
    for number, parts in enumerate(sorted(chance.sample(range(PARTS - 2), KILLS))):
        _wait_for_parts(lake, parts, site, running)
        time.sleep(chance.uniform(0, 0.3))
        finished = _finished(lake)
        assert running.poll() is None, f"over before kill {number}"
        actors |= _kill(ORDER[number % len(ORDER)], running, chance)
        kills.append(Kill(ORDER[number % len(ORDER)], time.monotonic(), finished))
        if kills[-1].victim == "flow":
            running = _start(own_home, log, lake)
    _ended(running, log, lake)
    return Disturbed(_ledger(lake), site.asked[before:], kills, actors)


def _wait_for_parts(lake: Path, parts: int, site: Site, running: subprocess.Popen[str]) -> None:
    """Until so many parts stand, and somebody is asked for another, or there is no other."""
    _until(running, lambda: _standing(lake) >= parts)
    asked = len(site.asked)
    _until(running, lambda: len(site.asked) > asked or _standing(lake) == PARTS)


def _until(running: subprocess.Popen[str], enough: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not enough() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def _standing(lake: Path) -> int:
    return len(list(lake.glob(STANDS)))


def _kill(victim: str, running: subprocess.Popen[str], chance: random.Random) -> set[int]:
    """SIGKILL for the run's process group, for one of its actors or for an actor's group; the actors that it had."""
    workers: list[int] = []
    while running.poll() is None:
        workers = sorted(_workers(running.pid))
        try:
            if victim == "flow":
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
            elif victim == "worker":
                os.kill(chance.choice(workers), signal.SIGKILL)
            else:
                os.killpg(os.getpgid(chance.choice(workers)), signal.SIGKILL)
            break
        except (IndexError, ProcessLookupError):  # none is there yet, or the one that was killed before
            time.sleep(0.05)
    return set(workers)


def _workers(flow: int) -> Iterator[int]:
    """The processes of Ray's actors under the flow."""
    parents = {pid: parent for pid, parent, _ in _processes()}
    for pid, _, name in _processes():
        above = pid
        while above not in (0, flow):
            above = parents.get(above, 0)
        if above == flow and name.startswith("ray::_Worker"):
            yield pid


def _processes() -> Iterator[tuple[int, int, str]]:
    """Process, parent, command line."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            yield int(folder.name), parent, (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue


def _finished(lake: Path) -> set[str]:
    """The paths of the URLs of every part that stands."""
    parts = list(lake.glob(STANDS))
    return {
        "/" + url.split("/", 3)[3] for part in parts for url in pq.read_table(part, columns=["url"])["url"].to_pylist()
    }


def test_the_ledger_is_that_of_a_run_that_nobody_disturbed(calm: Disturbed, killed: Disturbed) -> None:
    assert [kill.victim for kill in killed.kills].count("flow") >= KILLS // len(ORDER)
    assert len(calm.ledger) == sum(KINDS.values())
    assert killed.ledger == calm.ledger
    reasons = [row[5] for row in calm.ledger]
    told = {"ok": None, "gone": "fetch_http_status", "optout": "fetch_opted_out", "forbidden": "fetch_robots"}
    assert {kind: reasons.count(told.get(kind, "fetch_timeout")) for kind in KINDS} == KINDS


def test_no_url_of_a_finished_part_is_asked_again(killed: Disturbed) -> None:
    assert len({len(kill.finished) for kill in killed.kills}) > 2  # early and late
    for kill in killed.kills:
        later = {one.path for one in killed.asked if one.at > kill.at}
        assert later & kill.finished == set()


def test_who_refused_is_not_asked_twice(killed: Disturbed) -> None:
    refused = [one for one in killed.asked if one.path.startswith(("/gone/", "/optout/"))]
    assert len({one.path for one in refused}) == KINDS["gone"] + KINDS["optout"]
    noted = [one for one in refused if not any(_around(one, kill) for kill in killed.kills)]
    assert len({one.path for one in noted}) == len(noted)
    assert not [one for one in killed.asked if one.path.startswith("/forbidden/")]


def _around(one: Asked, kill: Kill) -> bool:
    return one.at < kill.at + SLIP_S and (one.answered is None or one.answered > kill.at - SLIP_S)


def test_no_actor_outlives_its_run(killed: Disturbed) -> None:
    assert len(killed.actors) > KILLS // 2
    left = {pid for pid, _, name in _processes() if pid in killed.actors and name.startswith("ray::")}
    assert left == set()
