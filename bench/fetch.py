"""What fetching costs: `python -m bench.fetch [--json]` against img2dataset's command and a bare loop of libcurl.

All three take the same pictures off the same loopback servers, in turns, each in processes of its own whose CPU and
memory are read from outside. The servers' work is in nobody's figures, but on the same cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.show import say, table
from bench import source
from bench.errand import Errand
from bench.ours import holders
from bench.report import Line, machine, mb, short
from bench.site import serve, server_name
from bench.watched import ContestantFailed, Used, held, whole
from filters.recipe import Fetch

PICTURES = 10_000
ROUNDS = 3

FASTER, DEARER = 8.0, 1.5
"""Goals: at least so many times the command's pictures a second, at most so many times the bare loop's CPU."""

OURS, COMMAND, BARE = "ours", "img2dataset", "pycurl"

SHARDS_EACH = 2
"""Of the command's processes: of its own ten thousand pictures a shard only one process would have work."""


@dataclass(frozen=True)
class Figures:
    """One contestant in one round. `cpu_s` is of 1,000 pictures; peaks are bytes."""

    contestant: str
    round: int
    fetched: int
    rate: float
    cpu_s: float
    start_s: float
    start_cpu_s: float | None
    whole_s: float
    largest: int
    together: int


@dataclass(frozen=True)
class Place:
    """The pictures on their servers, and the list of them as each contestant reads it."""

    folder: Path
    sites: tuple[str, ...]
    pictures: int

    @property
    def list(self) -> Path:
        return self.folder / "urls.parquet"

    @property
    def parts(self) -> Path:
        return self.folder / "parts"

    @property
    def allow(self) -> tuple[str, ...]:
        return tuple(site.removeprefix("http://") for site in self.sites)

    def write(self) -> None:
        urls = [f"{self.sites[row % len(self.sites)]}/{source.photo(row)}" for row in range(self.pictures)]
        pq.write_table(pa.table({"url": urls}), self.list)
        write_parts(urls, self.parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured, whether or not the goals are met."""
    asked = argparse.ArgumentParser(prog="python -m bench.fetch", description=__doc__)
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--pictures", type=int, default=PICTURES)
    options = asked.parse_args(arguments)
    say(f"{machine()}; served by {server_name()}")
    figures = measure(options.pictures, options.rounds)
    lines = compare(figures)
    if options.json:
        for told in [asdict(one) for one in figures] + [asdict(line) for line in lines]:
            print(json.dumps(told))
    else:
        _show(figures, lines)
    return 0


def measure(pictures: int, rounds: int) -> list[Figures]:
    """Every contestant once in each round, another one first in each."""
    contestants = ((OURS, _ours), (COMMAND, _command), (BARE, _bare))
    figures = []
    with tempfile.TemporaryDirectory(prefix="zeromill-bench-") as name:
        source.build_photos(Path(name), pictures)
        with serve(Path(name), max(2, min(4, os.cpu_count() or 1))) as sites:
            place = Place(Path(name), sites, pictures)
            place.write()
            for round_ in range(rounds):
                first = round_ % len(contestants)
                for contestant, run in contestants[first:] + contestants[:first]:
                    figures.append(_figures(contestant, round_, place, run))
    return figures


def compare(figures: Sequence[Figures]) -> list[Line]:
    """The two ratios that have a goal, each the median of its rounds."""
    rounds = range(1 + max(one.round for one in figures))
    by = {(one.contestant, one.round): one for one in figures}
    rates = [by[OURS, n].rate / by[COMMAND, n].rate for n in rounds]
    savings = [by[BARE, n].cpu_s / by[OURS, n].cpu_s for n in rounds]
    rate, cpu_s = partial(_median, figures, column="rate"), partial(_median, figures, column="cpu_s")
    busy = "fetch, against img2dataset's command while busy"
    bare = "fetch, against a bare pycurl loop"
    return [
        Line(busy, rate(OURS), rate(COMMAND), "pictures/s", median(rates), FASTER),
        Line(bare, cpu_s(OURS), cpu_s(BARE), "CPU s per 1,000 pictures", median(savings), 1 / DEARER),
    ]


def _figures(contestant: str, round_: int, place: Place, run: Callable[[Place, Path], tuple[Used, int]]) -> Figures:
    with tempfile.TemporaryDirectory(dir=place.folder) as out:
        load = os.getloadavg()[0]
        used, fetched = run(place, Path(out))
    if fetched != place.pictures:
        raise ContestantFailed(f"{contestant} fetched {fetched} of {place.pictures} pictures")
    say(f"round {round_ + 1}, {contestant}: {fetched / used.busy_s:,.0f} pictures/s, load before {load:.1f}")
    return Figures(
        contestant,
        round_,
        fetched,
        rate=fetched / used.busy_s,
        cpu_s=used.cpu_s / fetched * 1000,
        start_s=used.start_s,
        start_cpu_s=used.start_cpu_s,
        whole_s=used.whole_s,
        largest=used.actor or used.largest,
        together=used.together,
    )


def _ours(place: Place, out: Path) -> tuple[Used, int]:
    workers = os.cpu_count() or 1
    used = held("bench.ours", _errand(place, out, workers), holders(len(list(place.parts.iterdir())), workers))
    return used, _right(place, out)


def _bare(place: Place, out: Path) -> tuple[Used, int]:
    used = held("bench.bare", _errand(place, out, 1), 1)
    return used, _right(place, out)


def _right(place: Place, out: Path) -> int:
    """How many pictures of the written parts are as long as what was served."""
    right = 0
    for part in out.glob("*.parquet"):
        rows = pq.read_table(part, columns=["url", "bytes"])
        lengths = pc.binary_length(rows["bytes"]).to_pylist()
        files = (place.folder / url.split("/", 3)[3] for url in rows["url"].to_pylist())
        right += sum(file.stat().st_size == length for file, length in zip(files, lengths, strict=True))
    return right


def _command(place: Place, out: Path) -> tuple[Used, int]:
    """As its users run it: smaller pictures in Parquet, one process a core."""
    processes = os.cpu_count() or 1
    shard = -(-place.pictures // (processes * SHARDS_EACH))
    options = {
        "url_list": place.list, "input_format": "parquet", "url_col": "url", "output_folder": out / "out",
        "output_format": "parquet", "image_size": 256, "processes_count": processes, "thread_count": 64,
        "number_sample_per_shard": shard,
    }  # fmt: skip
    words = [
        str(Path(sys.executable).parent / "img2dataset"),
        *(f"--{name}={value}" for name, value in options.items()),
    ]

    def stats() -> list[dict[str, float]]:
        return [json.loads(file.read_text()) for file in (out / "out").glob("*_stats.json")]

    def busy() -> tuple[float, float]:
        return min(one["start_time"] for one in stats()), max(one["end_time"] for one in stats())

    used = whole(words, out / "said", busy)
    return used, int(sum(one["successes"] for one in stats()))


def _errand(place: Place, out: Path, workers: int) -> Errand:
    return Errand(str(place.parts), str(out), place.allow, workers, Fetch().model_dump_json())


def write_parts(urls: Sequence[str], folder: Path) -> None:
    """Parts as large as warehouse.sift would cut them."""
    folder.mkdir()
    size = max(64, min(1000, len(urls) // 64))
    for place, first in enumerate(range(0, len(urls), size)):
        pq.write_table(pa.table({"url": urls[first : first + size]}), folder / f"{place:06d}.parquet")


def _median(figures: Sequence[Figures], contestant: str, column: str) -> float:
    return median(getattr(one, column) or 0 for one in figures if one.contestant == contestant)


def _show(figures: Sequence[Figures], lines: Sequence[Line]) -> None:
    rows = []
    for name in (OURS, COMMAND, BARE):
        rate, cpu_s, start_s, start_cpu_s, whole_s, largest, together = (
            _median(figures, name, column)
            for column in ("rate", "cpu_s", "start_s", "start_cpu_s", "whole_s", "largest", "together")
        )
        started = short(start_cpu_s) if name != COMMAND else "in CPU s"
        memory = mb(largest), mb(together)
        rows.append((name, short(rate), short(cpu_s), short(start_s), started, short(whole_s), *memory))
    names = ["", "pictures/s", "CPU s per 1,000", "start s", "start CPU s", "whole s", "largest process", "all at once"]
    table(names, rows)
    told = [(x.work, short(x.ours), short(x.peer), x.unit, short(x.ratio), short(x.goal)) for x in lines]
    table(["work", "ours", "peer", "unit", "ratio", "goal"], told)


if __name__ == "__main__":
    sys.exit(main())
