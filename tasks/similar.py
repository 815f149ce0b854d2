"""The most similar picture of each: newcomers meet all in their cells, here or over actors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from actors.copies.meeting import Job, Matcher, MeetJob
from actors.copies.placing import ROUNDS, FitJob, PlaceJob
from tasks.parts import HUNG_S
from tasks.plan import Plan
from tasks.pool import SetAside, cpus, run_pool
from tasks.progress import Progress
from warehouse.files import files_of
from warehouse.ids import fingerprint
from warehouse.similar import Similar, Standing, cells_of, newcomers, sample, settle, standing

SIMILAR_VERSION = "1"
"""Raised when a part of the same facts would be another."""

BOUND = 50_000
"""Pictures from which on they are put into cells; below it all are compared with all, and the answer is exact."""

GROWTH = 16
"""Times by which a collection grows until its cells are fitted anew: four times as many are met then as after a fit."""

CELLS_BY_ROOT = 2
"""Cells by the square root of the pictures: at 3 a first run takes longer, and later ones not much less."""

SAMPLED = 16
"""Pictures that a cell is fitted on."""

PLACED_ROWS = 16_384
"""Pictures that are put into cells by a job: a second of one core."""

MET_ROWS = 262_144
"""The most pictures in the memory of a job that compares, unless a single cell has more."""

SHARES = 6
"""Jobs at least, so that several actors have something to do; more read the newcomers more often."""

ALONE = 2e8
"""Products up to which the flow's own process compares: two seconds, less than it takes to start actors."""


class SimilarFailed(Exception):
    """A job of the search took its actor down again and again; the message says what to do next."""


@dataclass(frozen=True)
class Cells:
    """Cells to compare in: their part (null: cell 0 alone), their number, who is in them, if they were fitted now."""

    part: str | None
    count: int
    held: tuple[str, ...]
    fitted: bool


@dataclass(frozen=True)
class Share:
    """Jobs, and how many vectors they multiply with another."""

    jobs: list[Job]
    products: float


@task(name="similar", cache_policy=NO_CACHE)
def compare(plan: Plan, looked: Sequence[str], vectors: Sequence[str]) -> Similar:
    """Compare the pictures that were not compared yet, by the recipe's first model, with all that were.

    Raises SimilarFailed. Nothing is in the warehouse until `commit_similar` puts it there.
    """
    model, folder = plan.models[0].identity, plan.folder / "similar"
    for made in (folder, plan.work / "similar"):
        made.mkdir(parents=True, exist_ok=True)
    join = plan.recipe.copies.semantic.join if plan.recipe.copies.semantic else None
    new, stood = newcomers(plan.warehouse, model, looked, vectors, folder), standing(plan.warehouse, model)
    if not pq.read_metadata(new).num_rows:
        return Similar(model, *settle(plan.warehouse, model, new, [], join, folder), None, (), stood.fitted_on)
    cells = _cells(plan, model, new, stood)
    placed = tuple(_run(plan, placing(plan.work, (new,), model, cells), "find their cells"))
    pairs = _run(plan, meeting(plan.work, model, cells, placed, join), f"compared in {cells.count:,} cells")
    rows, edges = settle(plan.warehouse, model, new, pairs, join, folder)
    if cells.fitted:
        return Similar(model, rows, edges, cells.part, (*placed, *cells.held), stood.fitted_on)
    return Similar(model, rows, edges, None, placed, stood.fitted_on)


def _cells(plan: Plan, model: str, new: str, stood: Standing) -> Cells:
    """Cells as they stand, or new ones, with all who were in the old ones moved to them."""
    held = tuple(files_of(plan.warehouse, "cell_members", plan.folder / "similar"))
    total = stood.members + pq.read_metadata(new).num_rows
    if total < (GROWTH * stood.fitted_on if stood.cells else BOUND):
        if not stood.cells:
            return Cells(None, 1, held, False)
        part = plan.folder / "similar" / f"cells-{fingerprint(model, str(stood.fitted_on))}.parquet"
        return Cells(cells_of(plan.warehouse, model, part), stood.cells, held, False)
    fresh = _fitted(plan, model, new, total)
    moved = _run(plan, placing(plan.work, held, model, fresh), f"move to {fresh.count:,} new cells")
    return replace(fresh, held=tuple(moved))


def _fitted(plan: Plan, model: str, new: str, total: int) -> Cells:
    count = round(CELLS_BY_ROOT * total**0.5)
    samples = sample(plan.warehouse, model, new, SAMPLED * count, plan.folder / "similar")
    job, rows = _named(plan.work, FitJob(samples, model, count, total, ""), new), min(SAMPLED * count, total)
    (part,) = _run(plan, Share([job], ROUNDS * rows * count), f"{count:,} cells are fitted on {rows:,} of {total:,}")
    return Cells(part, pq.read_metadata(part).num_rows, (), True)


def placing(work: Path, files: Sequence[str], model: str, cells: Cells) -> Share:
    """Jobs that put the pictures of files into cells."""
    jobs, products = list[Job](), 0.0
    for file in files:
        rows = pq.read_metadata(file).num_rows
        products += rows * cells.count
        for start in range(0, rows, PLACED_ROWS):
            job = PlaceJob(file, (start, min(rows, start + PLACED_ROWS)), model, cells.part, "")
            jobs.append(_named(work, job))
    return Share(jobs, products)


def meeting(work: Path, model: str, cells: Cells, placed: tuple[str, ...], join: float | None) -> Share:
    """Jobs of neighbouring cells, each with as many pictures as may be in memory."""
    homes = _counted(placed, "cell", cells.count)
    looking = homes + _counted(placed, "probes", cells.count)
    living = homes + _counted(cells.held, "cell", cells.count, model)
    new, share = int(homes.sum()), int(looking.sum()) // SHARES
    bounds, looks, lives = [0], 0, 0
    for cell, (look, live) in enumerate(zip(looking.tolist(), living.tolist(), strict=True)):
        full = min(looks + look, new) + lives + live > MET_ROWS  # who looks into several cells is there once
        if looks and (full or looks + look > share):
            bounds.append(cell)
            looks = lives = 0
        looks, lives = looks + look, lives + live
    jobs = [
        _named(work, MeetJob(first, end, model, placed, cells.held, join, ""))
        for first, end in pairwise([*bounds, cells.count])
    ]
    return Share(jobs, float(looking.astype(float) @ living))


def _counted(files: Sequence[str], column: str, cells: int, model: str | None = None) -> NDArray[np.int64]:
    """How often each cell is named in a column of the files, by rows of the model alone where one is given."""
    counts = np.zeros(cells, np.int64)
    wanted = None if model is None else pc.field("model") == model
    for file in files:
        named = pq.read_table(file, columns=[column], filters=wanted)[column].combine_chunks()
        named = pc.list_flatten(named) if column == "probes" else named
        counts += np.bincount(named.to_numpy(), minlength=cells)
    return counts


def _named(work: Path, job: Job, *facts: str) -> Job:
    """The job with the name of its part, which is made of all that it is made from."""
    return replace(job, out=str(work / "similar" / f"{fingerprint(SIMILAR_VERSION, repr(job), *facts)}.parquet"))


def _run(plan: Plan, work: Share, note: str) -> list[str]:
    """The parts of the jobs, of which those are made that are not there: by actors where it is much work."""
    left = [job for job in work.jobs if not Path(job.out).exists()]
    with Progress("similar", len(left), "pictures") as progress:
        progress.note = note
        for _ in map(Matcher(), left) if work.products <= ALONE else _spread(plan, left):
            progress.advance()
    return [job.out for job in work.jobs]


def _spread(plan: Plan, jobs: Sequence[Job]) -> Iterator[str]:
    for _, done in run_pool(Matcher, jobs, workers=min(plan.workers, cpus()), limit_s=HUNG_S, made=_standing):
        if isinstance(done, SetAside):
            raise SimilarFailed(f"Comparing pictures by their embeddings {done.why}.\nFree memory, then run again.")
        yield done


def _standing(job: Job) -> str | None:
    return job.out if Path(job.out).exists() else None
