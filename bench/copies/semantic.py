"""The most similar picture of each, in cells, against comparing all with all; what newcomers cost by the history."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.copies.meeting import Job, Matcher
from actors.copies.placing import FitJob, fit
from actors.copies.similar import Floats
from app.show import say
from bench.copies.vectors import realistic
from bench.look.apart import in_turn, race
from bench.processes import look, own_peak
from bench.report import Line
from tasks.similar import BOUND, CELLS_BY_ROOT, SAMPLED, Cells, meeting, placing

COUNT, WIDTH, ABOVE = 100_000, 512, 0.95
HISTORIES, NEWCOMERS = (10_000, 100_000, 1_000_000), 10_000
ASKED = 2_000
"""Newcomers whom brute force compares with a history: its cost for each does not depend on how many they are."""

MODEL = "bench"
BLOCK = 1024
READ = 8192  # of a history at a time
GROWN = 4  # times that a history grew since its cells were fitted: midway between two fits, in powers

Pairs = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Done:
    """What a contestant found and used: pairs above ABOVE by their ids, seconds of each step, the process's peak."""

    pairs: Pairs
    seconds: dict[str, float]
    peak: int


@dataclass(frozen=True)
class Brute:
    """Contestant that multiplies each block with all before it, as NumPy does with all cores."""

    vectors: Path

    def __call__(self) -> Callable[[], Done]:
        vectors: Floats = np.load(self.vectors)
        return lambda: _all_with_all(vectors)


@dataclass(frozen=True)
class Asked:
    """Contestant that multiplies some vectors with a history in blocks."""

    vectors: Path
    history: Path
    first: int  # id of the history's first

    def __call__(self) -> Callable[[], Done]:
        asked: Floats = np.load(self.vectors)[:ASKED]
        history = np.load(self.history, mmap_mode="r")
        return lambda: _with_history(asked, history, self.first)


@dataclass(frozen=True)
class Ours:
    """The stage's jobs in processes of one thread each, as its actors are: newcomers, and those of a history.

    With `fits` cells are fitted on the newcomers first; without `fitted` there is one. Rows come as the warehouse hands
    them out, in Parquet; what SQL does before and after is not in it, nor the start of the processes.
    """

    new: Path
    held: tuple[str, ...]
    fitted: Path | None
    work: Path
    fits: bool = False

    def compare(self, team: Team) -> Done:
        (self.work / "similar").mkdir(parents=True)
        seconds, fitted, began = dict[str, float](), self.fitted, time.monotonic()
        if self.fits:
            fitted = Path(team.do([fit_job(self.new, self.work)])[0])
            seconds["fit"], began = time.monotonic() - began, time.monotonic()
        cells = _cells(fitted, self.held)
        placed = tuple(team.do(placing(self.work, (str(self.new),), MODEL, cells).jobs))
        seconds["find cells"], began = time.monotonic() - began, time.monotonic()
        found = team.do(meeting(self.work, MODEL, cells, placed, ABOVE).jobs)
        seconds["compare"] = time.monotonic() - began
        return Done(_pairs(found), seconds, team.peak())


class Team:
    """Processes that do jobs, one a core, started and warm; none, for a test: this one does them."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> Team:
        if self.count:
            before = os.environ.get("OMP_NUM_THREADS")
            os.environ["OMP_NUM_THREADS"] = "1"
            self.pool = ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"))
            list(self.pool.map(_warm, range(self.count)))
            os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
        return self

    def __exit__(self, *told: object) -> None:
        if self.count:
            self.pool.shutdown()

    def do(self, jobs: Sequence[Job]) -> list[str]:
        return list(self.pool.map(Matcher(), jobs) if self.count else map(Matcher(), jobs))

    def peak(self) -> int:
        """Bytes that the processes ever had, each at its own time."""
        return sum(one.peak for one in look(os.getpid()) if one.pid != os.getpid()) if self.count else own_peak()


def _warm(place: int) -> None:
    """Does a few rows of each work, so that libraries are loaded, for as long as the others need to start."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.parquet"
        write_rows(rows, realistic(64, 8))
        Ours(rows, (), None, Path(folder) / "few", fits=True).compare(Team(0))
    time.sleep(max(0.0, 5 - (time.monotonic() - began)))


def semantic(folder: Path, count: int = COUNT, width: int = WIDTH, apart: bool = True) -> Iterator[Line]:
    """All of a first run with all, with the fit of cells and without it; `apart`: each in a process of its own."""
    racing, team = race if apart else in_turn, (os.cpu_count() or 1) if apart else 0
    vectors = realistic(count, width)
    np.save(folder / "vectors.npy", vectors)
    write_rows(folder / "new.parquet", vectors)
    brute = racing([Brute(folder / "vectors.npy")]).gave[0]
    with Team(team) as ours:
        whole = Ours(folder / "new.parquet", (), None, folder / "whole", fits=True).compare(ours)
    with Team(team) as ours:
        after = Ours(folder / "new.parquet", (), folder / "whole" / "cells.parquet", folder / "after").compare(ours)
    work = f"the most similar of each of {count:,} x {width}"
    yield _faster(f"{work}, against NumPy's brute force", whole, brute, count, 5.0)
    yield _faster(f"{work}, cells fitted before", after, brute, count, 5.0)
    yield _recall(f"{work}: pairs above {ABOVE} found", whole, brute)
    yield Line(f"{work}: peak of the processes", whole.peak / 1e6, brute.peak / 1e6, "MB", brute.peak / whole.peak, 0.0)


def growing(
    folder: Path, histories: Sequence[int] = HISTORIES, count: int = NEWCOMERS, width: int = WIDTH, apart: bool = True
) -> Iterator[Line]:
    """Newcomers against histories of several sizes, in cells fitted as the stage would have, or all in one."""
    racing, team = race if apart else in_turn, (os.cpu_count() or 1) if apart else 0
    for size in histories:
        place, vectors = folder / str(size), realistic(count + size, width)
        held, fitted = _history(vectors[count:], count, place)
        np.save(place / "asked.npy", vectors[:count])
        write_rows(place / "new.parquet", vectors[:count])
        del vectors
        brute = racing([Asked(place / "asked.npy", place / "history.npy", count)]).gave[0]
        with Team(team) as processes:
            ours = Ours(place / "new.parquet", held, fitted, place / "ours").compare(processes)
        work = f"{count:,} newcomers of {width} against {size:,}"
        yield _faster(f"{work}, against NumPy's brute force", ours, brute, count, 1.0, min(ASKED, count))
        yield _recall(f"{work}: pairs above {ABOVE} found", ours, brute)
        say(f"  {1e6 * sum(ours.seconds.values()) / count:,.0f} microseconds a newcomer")


def write_rows(file: Path, vectors: Floats, first: int = 0) -> None:
    """Vectors as a part of newcomers; ids are places, from `first` on, areas are drawn."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]).cast(pa.list_(pa.float32()))
    ids, areas = np.arange(first, first + len(vectors)), np.random.default_rng(first).integers(1, 1000, len(vectors))
    table = pa.table([ids, areas, lists], names=["image_id", "area", "vector"])
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=20_480, compression="none")


def fit_job(rows: Path, work: Path) -> FitJob:
    """As many cells as the stage would make of these rows, to be fitted on as many as it would take."""
    total = pq.read_metadata(rows).num_rows
    count = round(CELLS_BY_ROOT * total**0.5)
    work.mkdir(parents=True, exist_ok=True)
    sample = next(pq.ParquetFile(rows).iter_batches(SAMPLED * count))
    pq.write_table(pa.Table.from_batches([sample]), work / "sample.parquet")
    return FitJob((str(work / "sample.parquet"),), MODEL, count, total, str(work / "cells.parquet"))


def _history(vectors: Floats, first: int, place: Path) -> tuple[tuple[str, ...], Path | None]:
    """Vectors as earlier runs left them, in their cells: the parts, and the cells (null: one)."""
    (place / "similar").mkdir(parents=True)
    np.save(place / "history.npy", vectors)
    write_rows(place / "rows.parquet", vectors, first)
    fitted = None
    if len(vectors) >= BOUND:
        write_rows(place / "then.parquet", vectors[: max(BOUND, len(vectors) // GROWN)], first)
        fitted = Path(fit(fit_job(place / "then.parquet", place)))
    cells = _cells(fitted, ())
    return tuple(map(Matcher(), placing(place, (str(place / "rows.parquet"),), MODEL, cells).jobs)), fitted


def _cells(fitted: Path | None, held: tuple[str, ...]) -> Cells:
    if fitted is None:
        return Cells(None, 1, held, False)
    return Cells(str(fitted), pq.read_metadata(fitted).num_rows, held, False)


def _all_with_all(vectors: Floats) -> Done:
    """The best before each, and the pairs above ABOVE: products of blocks, the upper triangle alone."""
    began, pairs, best = time.monotonic(), set[tuple[int, int]](), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), BLOCK):
        rows = vectors[start : start + BLOCK]
        products = rows @ vectors[: start + len(rows)].T
        products[:, start:][np.triu_indices(len(rows))] = -2
        best[start : start + len(rows)] = products.max(1)
        pairs |= _above(products, start, 0)
    return Done(frozenset(pairs), {"compare": time.monotonic() - began}, own_peak())


def _with_history(asked: Floats, history: Floats, first: int) -> Done:
    began, pairs, best = time.monotonic(), set[tuple[int, int]](), np.full(len(asked), -2, np.float32)
    for start in range(0, len(history), READ):
        products = asked @ history[start : start + READ].T
        best = np.maximum(best, products.max(1))
        pairs |= _above(products, 0, start + first)
    return Done(frozenset(pairs), {"compare": time.monotonic() - began}, own_peak())


def _above(products: Floats, row: int, column: int) -> set[tuple[int, int]]:
    """The pairs of a block whose first row and column are these places, the smaller place first."""
    rows, columns = np.divmod(np.flatnonzero(products > ABOVE), products.shape[1])
    return set(zip(*_sorted(rows + row, columns + column), strict=True))


def _pairs(parts: Sequence[str]) -> Pairs:
    found = pa.concat_tables([pq.read_table(part) for part in parts])
    above = found.filter(pa.array(found["similarity"].to_numpy() > ABOVE))
    return frozenset(zip(*_sorted(above["image_id"].to_numpy(), above["other"].to_numpy()), strict=True))


def _sorted(ones: NDArray[np.int64], others: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    return np.minimum(ones, others).tolist(), np.maximum(ones, others).tolist()


def _faster(work: str, ours: Done, brute: Done, rows: int, goal: float, asked: int | None = None) -> Line:
    """Rows a second; brute force may have been asked about fewer."""
    told = ", ".join(f"{step} {took:.2f} s" for step, took in ours.seconds.items())
    say(f"ours: {told}; peak {ours.peak / 1e6:,.0f} MB; load {os.getloadavg()[0]:.1f}")
    mine, other = rows / sum(ours.seconds.values()), (asked or rows) / sum(brute.seconds.values())
    return Line(work, mine, other, "rows/s", mine / other, goal)


def _recall(work: str, ours: Done, brute: Done) -> Line:
    found = len(ours.pairs & brute.pairs)
    return Line(work, found, len(brute.pairs), "pairs", found / len(brute.pairs) if brute.pairs else 1.0, 0.99)
