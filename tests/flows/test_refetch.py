"""What failed for a while is asked again later, and nothing else is: by the command, against a real site."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from app.main import main
from filters.load import load_recipe, recipe_fingerprint
from tasks.rounds import plan_round
from warehouse.lake import connect

if TYPE_CHECKING:
    from conftest import Site

PATIENCE_S = 400
KINDS = {"ok": 60, "flaky": 9, "gone": 6, "forbidden": 3, "optout": 4}
ROWS = sum(KINDS.values())
RECIPE: dict[str, Any] = {
    "name": "patient",
    "click_through": None,
    "texts": {"filters": [{"filter": "text_sensitive", "list": "words.tsv"}]},
    "fetch": {"retries": 0, "deadline_s": 10},
    "copies": {"near_bits": None},
    "validation": {"min_kept_share": 0.8},  # which it has only with the flaky ones
    "training": {"learning_rate": 1e-5},  # as JSON writes it, YAML takes it for text
}


@dataclass(frozen=True)
class Milled:
    """A log that was milled while its site was failing: held back, and asked again when the site was well."""

    site: Site
    log: Path
    lake: Path
    words: list[str]
    held_back: str
    before: int
    said: dict[str, Any]

    @property
    def recipe(self) -> str:
        return str(self.log.parent / "patient.yaml")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with connect(str(self.lake), read_only=True) as con:
            return con.execute(query).fetchall()

    def reasons(self, run_id: str) -> dict[str, int]:
        counted = "SELECT coalesce(reason, outcome), count(*) FROM ledger_history"
        return dict(self.rows(f"{counted} WHERE run_id = '{run_id}' GROUP BY 1"))


def _start(home: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    command = [sys.executable, "-m", "app", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _killed_in_look(home: Path, lake: Path, *words: str) -> None:
    running = _start(home, *words)
    before, deadline = set(lake.glob("work/look/[!.]*.parquet")), time.monotonic() + PATIENCE_S
    while set(lake.glob("work/look/[!.]*.parquet")) == before and time.monotonic() < deadline:
        assert running.poll() is None, running.communicate()[1]
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()


def _write(folder: Path, site: Site) -> Path:
    kinds = [kind for kind, count in KINDS.items() for _ in range(count)]
    urls = [site.url(kind, n) for n, kind in enumerate(kinds)]
    urls.append(site.url("ok", ROWS))  # beyond the limit
    log = folder / "log.csv"
    log.write_text("url,query\n" + "".join(f"{url},words about picture {n}\n" for n, url in enumerate(urls)))
    (folder / "words.tsv").write_text("# id: none\n# version: 1\nunheard\tnothing\n", encoding="utf-8")
    (folder / "patient.yaml").write_text(yaml.safe_dump(RECIPE))
    return log


@pytest.fixture(scope="module")
def milled(own_home: Path, open_site: Callable[[], Site], tmp_path_factory: pytest.TempPathFactory) -> Milled:
    """Milled while the site failed; then asked again when it was well: once killed, and once to the end."""
    folder, site = tmp_path_factory.mktemp("refetch"), open_site()
    log, lake = _write(folder, site), folder / "lake"
    words = [str(log), "--recipe", str(folder / "patient.yaml"), "--limit", str(ROWS), "--allow-host", site.host]
    first = _start(own_home, "curate", *words, "--warehouse", str(lake))
    held_back = first.communicate(timeout=PATIENCE_S)[1]
    assert first.returncode == 1, held_back
    site.failing, before = False, len(site.asked)
    again = ["refetch", "--release", "second", "--warehouse", str(lake)]
    _killed_in_look(own_home, lake, *again)
    second = _start(own_home, *again, "--json")
    out, err = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 0, err
    return Milled(site, log, lake, words, held_back, before, json.loads(out))


def test_a_run_that_was_held_back_says_how_many_failures_may_pass(milled: Milled) -> None:
    assert "Nothing was published" in milled.held_back
    assert f"{KINDS['flaky']} URLs failed for a while only: `zeromill refetch`" in milled.held_back


def test_what_failed_for_a_while_is_asked_once_and_nothing_else_even_by_a_run_that_was_killed(milled: Milled) -> None:
    asked = milled.site.times(milled.before)
    assert asked.pop("/robots.txt") == 1
    flaky = [path for path in milled.site.times() if path.startswith("/flaky/")]
    assert asked == dict.fromkeys(flaky, 1)
    assert len(flaky) == KINDS["flaky"]


def test_it_is_milled_again_with_what_came_into_a_new_release(milled: Milled) -> None:
    runs = milled.rows("SELECT run_id, round, earlier, outcome, release FROM runs ORDER BY round")
    (first, *one), (second, *two) = runs
    assert one == [0, None, "not_published", None]
    assert two == [1, first, "published", "second"]
    assert milled.said["release"] == "second"
    refused = {"fetch_robots": KINDS["forbidden"], "fetch_opted_out": KINDS["optout"]}
    gone = {**refused, "fetch_http_status": KINDS["gone"]}
    failed = {**refused, "fetch_http_status": KINDS["gone"] + KINDS["flaky"]}
    assert milled.reasons(first) == {**failed, "not_published": KINDS["ok"]}
    assert milled.reasons(second) == {**gone, "kept": KINDS["ok"] + KINDS["flaky"]}
    assert milled.rows("SELECT count(DISTINCT run_id) FROM ledger") == [(1,)]


def test_where_nothing_may_pass_it_says_so_and_asks_nobody(milled: Milled, capfd: pytest.CaptureFixture[str]) -> None:
    asked = len(milled.site.asked)
    for named in ([], ["second"]):
        assert main(["refetch", *named, "--warehouse", str(milled.lake)]) == 0
        told = capfd.readouterr().out
        assert told.startswith("Nothing to ask again: 6 permanent failures, 7 refusals.")
    assert main(["refetch", "--warehouse", str(milled.lake), "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert (answer["no_op"], answer["release"], answer["permanent"], answer["refusals"]) == (True, "second", 6, 7)
    assert len(milled.site.asked) == asked
    assert len(milled.rows("SELECT * FROM runs")) == 2


def test_the_source_counts_as_published_by_the_later_round(milled: Milled, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["curate", *milled.words, "--warehouse", str(milled.lake)]) == 0
    assert "Already published as second" in capfd.readouterr().out
    assert main(["curate", *milled.words, "--warehouse", str(milled.lake), "--release", "third"]) == 0
    assert milled.rows("SELECT count(*) FROM release_pairs WHERE release = 'third'") == [(69,)]


def test_the_recorded_recipe_is_the_one_that_was_given(milled: Milled) -> None:
    again = plan_round("second", str(milled.lake))
    given = load_recipe(milled.recipe)
    assert again.plan.recipe == given
    assert recipe_fingerprint(again.plan.recipe) == recipe_fingerprint(given)
    assert (again.plan.limit, again.plan.allow, again.plan.round) == (ROWS, (milled.site.host,), 2)


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        ("log.csv", "is not what it was"),
        ("words.tsv", "is not what it was"),
        ("gone", "is gone"),
        ("lake/work/fetch", "was not kept"),
    ],
)
def test_a_run_that_cannot_be_continued_is_refused_with_the_next_step(
    milled: Milled, capfd: pytest.CaptureFixture[str], spoilt: str, told: str
) -> None:
    folder = milled.log.parent
    place = folder / ("log.csv" if spoilt == "gone" else spoilt)
    aside = place.rename(place.with_name("aside"))
    if spoilt in ("log.csv", "words.tsv"):
        place.write_bytes(aside.read_bytes().replace(b"picture 1", b"picture 7").replace(b"unheard", b"unknown"))
    try:
        assert main(["refetch", "--warehouse", str(milled.lake)]) == 1
    finally:
        aside.rename(place)
    said = capfd.readouterr().err
    assert told in said
    assert 2 <= said.count("\n") <= 3
    assert len(milled.rows("SELECT * FROM runs")) == 2
