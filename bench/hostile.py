"""What a bad web costs: `python -m bench.hostile [--json]`, the fetch stage on stalls, drips and very large pictures.

Of the first list one URL in twenty accepts and never answers and one drips a byte each half second: it must end within
the deadlines of its URLs spread over the requests at once, its memory flat and every row's reason right. The second
list is of pictures of 15 MB, more of them at once than an actor may hold.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from app.show import say, table
from bench import source
from bench.errand import Errand
from bench.fetch import write_parts
from bench.ours import holders
from bench.processes import ACTOR, Seen
from bench.report import Line, machine, mb, short
from bench.site import DRIP, STALL, serve, serve_faulty
from bench.watched import ContestantFailed, Used, held
from filters.recipe import Fetch
from tasks.stages import FETCH_LANES, FETCH_THREADS

URLS = 10_000
EVERY = 20
"""Of so many URLs one stalls and one drips."""

DEADLINE_S = 2.0
"""Short, so that the bench is; whoever drips half a second a byte is late for any."""

HEAVY = 300
HEAVY_BYTES = 15_000_000
HEAVY_DEADLINE_S = 120.0
"""Nobody is late here: what is measured is memory."""

ACTOR_BYTES = 300_000_000
"""Goal: the most that a fetch actor may ever hold."""

FLAT = 1.25
"""Goal: at the end an actor holds at most so many times what it held when a quarter of the parts were written."""

QUARTERS = (0.25, 0.5, 0.75, 1.0)


@dataclass
class Course:
    """What the largest actor held, of its own, when so large a share of the parts was written."""

    out: Path
    parts: int
    held: list[tuple[float, int]] = field(default_factory=list)

    def note(self, seen: list[Seen]) -> None:
        share = len([part for part in self.out.glob("*.parquet") if not part.name.startswith(".")]) / self.parts
        actors = [one.own for one in seen if one.name.startswith(ACTOR)]
        if actors:
            self.held.append((share, max(actors)))

    def quarters(self) -> list[int]:
        """At the end of each quarter; of several looks in one, the last counts."""
        return [[own for share, own in self.held if share <= quarter][-1] for quarter in QUARTERS]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured, whether or not the goals are met."""
    asked = argparse.ArgumentParser(prog="python -m bench.hostile", description=__doc__)
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    asked.add_argument("--urls", type=int, default=URLS, help="of the list with stalls and drips")
    asked.add_argument("--heavy", type=int, default=HEAVY, help="pictures of 15 MB")
    options = asked.parse_args(arguments)
    say(f"{machine()}; {FETCH_LANES} lanes of {FETCH_THREADS} requests an actor")
    lines = [*slow(options.urls), heavy(options.heavy)]
    if options.json:
        for line in lines:
            print(json.dumps(asdict(line)))
    else:
        rows = [(x.work, short(x.ours), short(x.peer), x.unit, short(x.ratio), short(x.goal)) for x in lines]
        table(["work", "ours", "bound", "unit", "ratio", "goal"], rows)
    return 0


def slow(count: int) -> list[Line]:
    """A list with stalls and drips: its time, its memory and its reasons, each against its bound."""
    workers = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="zeromill-bench-") as name:
        folder = Path(name)
        source.build_photos(folder, count)
        with serve_faulty(folder, workers) as sites:
            paths = [_path(row) for row in range(count)]
            urls = [f"{sites[row % len(sites)]}{path}" for row, path in enumerate(paths)]
            used, course = _fetch(folder, urls, Fetch(deadline_s=DEADLINE_S), workers)
        told = _told(course.out)
    quarters = course.quarters()
    bound_s = count * DEADLINE_S / (workers * FETCH_LANES * FETCH_THREADS)
    tries = sum(attempts for reason, attempts in told.values() if reason == "fetch_timeout")
    _tell(used, quarters, tries * DEADLINE_S / (workers * FETCH_LANES * FETCH_THREADS))
    right = _right(urls, told)
    return [
        Line(f"{count} URLs, a tenth stalls or drips", used.busy_s, bound_s, "s", bound_s / used.busy_s, 1.0),
        Line("an actor then: at the end, at a quarter", quarters[-1] / 1e6, quarters[0] / 1e6, "MB",
             quarters[0] / quarters[-1], 1 / FLAT),
        Line("the largest actor then", used.actor / 1e6, ACTOR_BYTES / 1e6, "MB", ACTOR_BYTES / used.actor, 1.0),
        Line("rows with the right reason", right, count, "rows", right / count, 1.0),
    ]  # fmt: skip


def heavy(count: int) -> Line:
    """Pictures of 15 MB, as many at once as one actor asks for: the most that it held."""
    with tempfile.TemporaryDirectory(prefix="zeromill-bench-") as name:
        folder = Path(name)
        _write_heavy(folder, count)
        with serve(folder, 1) as (site,):
            urls = [f"{site}/{source.photo(row)}" for row in range(count)]
            used, course = _fetch(folder, urls, Fetch(deadline_s=HEAVY_DEADLINE_S), 1)
        failed = Counter(reason for reason, _ in _told(course.out).values() if reason is not None)
    if failed:
        raise ContestantFailed(f"Pictures of {mb(HEAVY_BYTES)} failed, so their memory says nothing: {dict(failed)}")
    say(f"{count} pictures of {mb(HEAVY_BYTES)}: {used.busy_s:.1f} s, {used.cpu_s:.1f} CPU s, actor {mb(used.actor)}")
    at_once = min(count, FETCH_LANES * FETCH_THREADS)
    work = f"an actor that asks for {at_once} pictures of {mb(HEAVY_BYTES)} at once"
    return Line(work, used.actor / 1e6, ACTOR_BYTES / 1e6, "MB", ACTOR_BYTES / used.actor, 1.0)


def _path(row: int) -> str:
    """A stall, a drip or a picture; the slow ones are spread evenly over the parts."""
    slow = {0: STALL, EVERY // 2: DRIP}.get(row % EVERY)
    return f"/{source.photo(row)}" if slow is None else f"{slow}{row}.jpg"


def _fetch(folder: Path, urls: Sequence[str], policy: Fetch, workers: int) -> tuple[Used, Course]:
    parts, out = folder / "parts", folder / "out"
    out.mkdir()
    write_parts(urls, parts)
    allow = tuple(sorted({url.split("/")[2] for url in urls}))
    course = Course(out, len(list(parts.iterdir())))
    errand = Errand(str(parts), str(out), allow, workers, policy.model_dump_json())
    return held("bench.ours", errand, holders(course.parts, workers), course.note), course


def _told(out: Path) -> dict[str, tuple[str | None, int]]:
    """What became of each URL: its reason and how often it was asked."""
    told = {}
    for part in out.glob("*.parquet"):
        rows = pq.read_table(part, columns=["url", "reason", "attempts"]).to_pylist()
        told.update({row["url"]: (row["reason"], row["attempts"]) for row in rows})
    return told


def _right(urls: Sequence[str], told: dict[str, tuple[str | None, int]]) -> int:
    """How many rows have the reason that they ought to; the others are told."""
    wrong: Counter[tuple[str, str | None]] = Counter()
    for url in urls:
        kind = "/" + url.split("/")[3] + "/"
        reason = told[url][0] if url in told else "no row"
        if reason != ("fetch_timeout" if kind in (STALL, DRIP) else None):
            wrong[kind, reason] += 1
    for (kind, reason), count in wrong.items():
        say(f"wrong: {count} of {kind} have {reason or 'no reason'}")
    return len(urls) - wrong.total()


def _tell(used: Used, quarters: Sequence[int], late_s: float) -> None:
    say(f"stalls and drips: {used.busy_s:.1f} s, of which their deadlines alone {late_s:.1f} s; {used.cpu_s:.1f} CPU s")
    say(f"  before the first request {used.start_s:.1f} s, with the end {used.whole_s:.1f} s")
    for quarter, own in zip(QUARTERS, quarters, strict=True):
        say(f"  the largest actor at {quarter:4.0%} of the parts {mb(own):>10}")


def _write_heavy(folder: Path, count: int) -> None:
    """One file under many names: a fetcher looks at no pixel, so random bytes behind a JPEG's head will do."""
    (folder / "files").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, HEAVY_BYTES - 2, np.uint8).tobytes()
    (folder / source.photo(0)).write_bytes(b"\xff\xd8" + noise)
    for row in range(1, count):
        os.link(folder / source.photo(0), folder / source.photo(row))


if __name__ == "__main__":
    sys.exit(main())
