"""What a run costs: `python -m bench.run [--json]` mills sources of 10, 1,000 and 10,000 rows from loopback."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from actors.copies.near import FIND_BITS
from app.show import say, table
from bench import command, peers, source
from bench.report import Line, machine, mb, short
from bench.site import serve
from tasks.stages import FETCH_LANES, FETCH_THREADS
from warehouse.ingest import ingest

SIZES = (10, 1_000, 10_000)
"""Rows of the sources; the smallest shows what a run costs beside its rows."""

NO_OP_S = 20.0
"""What the same command may take when its source was published before."""

LONG_LOG = 20
"""Times the largest source's rows, for ingest alone: it reads logs that are longer than what is fetched of them."""


@dataclass(frozen=True)
class Place:
    """The folders of one measurement, and the address of its site."""

    folder: Path
    site: str

    @property
    def home(self) -> Path:
        return self.folder / "prefect"

    def lake(self, rows: int) -> Path:
        return self.folder / f"lake-{rows}"

    def parts(self, rows: int, stage: str) -> list[str]:
        return sorted(str(part) for part in (self.lake(rows) / "work" / stage).glob("*.parquet"))

    def curate(self, rows: int) -> command.Watched:
        """One run over that many rows, into a warehouse of its own."""
        log = source.log(self.folder, self.site, rows)
        allow = self.site.removeprefix("http://")
        words = ("curate", str(log), "--recipe", "unscored", "--warehouse", str(self.lake(rows)), "--json")
        return command.run(self.home, *words, "--allow-host", allow)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured, whether or not the goals are met."""
    asked = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    asked.add_argument("--rows", type=int, help=argparse.SUPPRESS)  # one small size, for the test
    options = asked.parse_args(arguments)
    say(machine())
    lines = []
    for line in measure(SIZES if options.rows is None else (options.rows,)):
        lines.append(line)
        if options.json:
            print(json.dumps(asdict(line)), flush=True)
    if not options.json:
        rows = [(x.work, short(x.ours), short(x.peer), x.unit, short(x.ratio), x.goal) for x in lines]
        table(["work", "ours", "peer", "unit", "ratio", "goal"], rows)
    return 0


def measure(sizes: Sequence[int]) -> Iterator[Line]:
    """Run the command on every size, tell its figures on standard error, and give what has a peer."""
    most = max(sizes)
    with tempfile.TemporaryDirectory(prefix="zeromill-bench-") as name:
        folder = Path(name)
        source.build(folder, most)
        with serve(folder, processes=1) as (site,):
            place = Place(folder, site)
            try:
                runs = _runs(place, sizes)
                again = place.curate(most)
            finally:
                command.run(place.home, "down")
            say(f"the same again, {most} rows: {again.seconds:.1f} s, peak {mb(again.peaks.get('flow', 0))}")
            yield _no_op(most, again)
            yield from _against_peers(place, most, runs[most].stages)
    say("left out: look and align with a scoring model, and training; their speed is the model's and the card's")


def _runs(place: Place, sizes: Sequence[int]) -> dict[int, command.Watched]:
    up = command.run(place.home, "up")
    say(f"Prefect's server, started in a new PREFECT_HOME: {up.seconds:.1f} s, kept for what follows")
    runs = {}
    for rows in sizes:
        runs[rows] = watched = place.curate(rows)
        counts = watched.told["counts"]
        say(f"\n{rows} rows, load {os.getloadavg()[0]:.1f}: {watched.seconds:.1f} s, {counts['kept']} kept")
        for stage, seconds in watched.stages.items():
            speed = "" if stage in ("start", "end") else f"{rows / seconds:12,.0f} rows/s"
            say(f"  {stage:<10}{seconds:8.2f} s{speed}")
        for kind, peak in sorted(watched.peaks.items()):
            say(f"  peak memory of {kind:<24}{mb(peak):>10}")
    if len(sizes) > 1:
        _tell_further(sizes[-1] - sizes[-2], runs[sizes[-2]].stages, runs[sizes[-1]].stages)
    return runs


def _tell_further(rows: int, fewer: dict[str, float], more: dict[str, float]) -> None:
    """What is left of each stage's speed when the start of its actors and tasks is taken away."""
    say(f"\nthe {rows} rows by which the last run was longer")
    for stage, seconds in more.items():
        further = seconds - fewer[stage]
        if stage not in ("start", "end") and further > 0:
            say(f"  {stage:<10}{further:8.2f} s{rows / further:12,.0f} rows/s")


def _no_op(rows: int, again: command.Watched) -> Line:
    if again.told["no_op"] is not True:
        raise RuntimeError(f"The second run over {rows} rows was no no-op; there is nothing to compare.")
    work = f"the same command again over {rows} rows, against the bound for it"
    return Line(work, again.seconds, NO_OP_S, "s", NO_OP_S / again.seconds, 1.0)


def _against_peers(place: Place, rows: int, stages: dict[str, float]) -> Iterator[Line]:
    """Stages of the largest run, with the start of their actors, and bare work on the same data."""
    log = source.log(place.folder, place.site, rows)
    urls = pq.read_table(log, columns=["url"])["url"].to_pylist()
    threads = FETCH_LANES * FETCH_THREADS
    fetched, looked = place.parts(rows, "fetch"), place.parts(rows, "look")
    yield _rate(
        "fetch, against urllib in threads without a check", rows, stages["fetch"], peers.fetch(urls, threads), 0.5
    )
    yield _rate("look, against Pillow's decode and resize", rows, stages["look"], peers.look(fetched), 1.0)
    yield _rate("copies, against all pairs in DuckDB", rows, stages["copies"], peers.all_pairs(looked, FIND_BITS), 0.5)
    copied = peers.copy(fetched, place.folder / "copied.parquet")
    yield _rate("publish, against DuckDB's COPY of the fetched parts", rows, stages["publish"], copied, 0.5)
    yield _ingest(place, rows)


def _ingest(place: Place, run_rows: int) -> Line:
    """Ingest without a flow around it, on a long log."""
    rows = run_rows * LONG_LOG
    log, out = source.log(place.folder, place.site, rows), place.folder / "ingested.parquet"
    began = time.monotonic()
    ingest(str(log), str(out), str(place.lake(run_rows)))
    seconds = time.monotonic() - began
    peer = peers.copy([str(log)], place.folder / "copied.parquet")
    return _rate("ingest alone, against DuckDB's COPY", rows, seconds, peer, 0.2)


def _rate(work: str, rows: int, ours: float, peer: float, goal: float) -> Line:
    return Line(f"{work}, {rows} rows", rows / ours, rows / peer, "rows/s", peer / ours, goal)


if __name__ == "__main__":
    sys.exit(main())
