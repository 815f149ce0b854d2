"""What an actor does for the search of similar pictures: fit cells, place pictures in them, compare those that meet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.copies.placing import BOTH, PLACED, FitJob, PlaceJob, fit, halves_of, place
from actors.copies.similar import Ints, Pictures, Search, in_order, unit
from actors.models.vectors import write

PAIRS = pa.schema({"image_id": pa.int64(), "other": pa.int64(), "other_area": pa.int64(), "similarity": pa.float32()})
"""A picture, one that goes before it, and their cosine: the best of a job for each picture, and all above `join`."""

BATCH = 8192
"""Newcomers that are read at a time, of which most may live elsewhere."""

NEW = pa.schema([field for field in PLACED if field.name != "model"])
HELD = pa.schema([field for field in NEW if field.name not in ("probes", "gaps")])


@dataclass(frozen=True)
class MeetJob:
    """Compare the newcomers who live in or look into cells `first` to `end` with all who live there.

    `new` and `held` are files of placed pictures, of this run and of earlier ones; of `held` only those of `model`
    count, and no picture is in both.
    """

    first: int
    end: int
    model: str
    new: tuple[str, ...]
    held: tuple[str, ...]
    join: float | None
    out: str


Job = FitJob | PlaceJob | MeetJob


class Matcher:
    """The tool of an actor that searches for similar pictures."""

    def __call__(self, job: Job) -> str:
        """Write the job's part, and return its name."""
        if isinstance(job, FitJob):
            return fit(job)
        return place(job) if isinstance(job, PlaceJob) else meet(job)


def meet(job: MeetJob) -> str:
    """The job's pairs as a part of PAIRS."""
    held, new = _held(job), _new(job)
    pictures, order = _ordered(held, new)
    search = Search(pictures, job.join)
    for one in _meetings(held, new, order, job):
        _meet(search, one)
    found = search.found()
    columns = [pictures.ids[found.later], pictures.ids[found.earlier], pictures.areas[found.earlier], found.cosines]
    write(pa.table(columns, schema=PAIRS), job.out)
    return job.out


@dataclass(frozen=True, eq=False)
class _Meeting:
    """Who is in a cell, by ascending places: held and new ones at home, who looks in, and who of those stands near."""

    held: Ints
    new: Ints
    guests: Ints
    near: Ints


def _meet(search: Search, cell: _Meeting) -> None:
    """All newcomers with those held; the newcomers at home with one another, and with guests who stand near."""
    if len(cell.held):
        search.meet(np.sort(np.concatenate([cell.new, cell.guests])), cell.held)
    if len(cell.new):
        search.meet_all(cell.new)
        search.meet(cell.near, cell.new)


def _meetings(held: pa.Table, new: pa.Table, order: Ints, job: MeetJob) -> Iterator[_Meeting]:
    """The job's cells in which somebody is."""
    places = np.argsort(order)
    rows = pc.list_parent_indices(new["probes"].combine_chunks()).to_numpy() + len(held)
    probed, gaps = (pc.list_flatten(new[name].combine_chunks()).to_numpy() for name in ("probes", "gaps"))
    by_cell = [
        _by_cell(held["cell"].to_numpy(), places[: len(held)], job),
        _by_cell(new["cell"].to_numpy(), places[len(held) :], job),
        _by_cell(probed, places[rows], job),
        _by_cell(probed[gaps <= BOTH], places[rows[gaps <= BOTH]], job),
    ]
    return (_Meeting(*of) for of in zip(*by_cell, strict=True) if len(of[0]) + len(of[1]))


def _by_cell(cells: NDArray[np.int32], places: Ints, job: MeetJob) -> list[Ints]:
    """The places, ascending, by each of the job's cells."""
    here = _within(cells, job)  # those who look in look into other jobs' cells too, most of them
    cells, places = cells[here], places[here]
    order = np.lexsort((places, cells))
    bounds = np.searchsorted(cells[order], np.arange(job.first, job.end + 1))
    return [places[order[start:end]] for start, end in pairwise(bounds)]


def _held(job: MeetJob) -> pa.Table:
    """Those of earlier runs who live in the job's cells; files skip what is of other cells."""
    wanted = (pc.field("model") == job.model) & (pc.field("cell") >= job.first) & (pc.field("cell") < job.end)
    tables = [pq.read_table(file, columns=HELD.names, filters=wanted).cast(HELD) for file in job.held]
    return pa.concat_tables([HELD.empty_table(), *tables])


def _new(job: MeetJob) -> pa.Table:
    """Newcomers who live in the job's cells, or look into one."""
    batches = [_concerned(batch, job) for file in job.new for batch in _batches(file)]
    return pa.concat_tables([NEW.empty_table(), *batches])


def _batches(file: str) -> Iterator[pa.Table]:
    for batch in pq.ParquetFile(file).iter_batches(BATCH, columns=NEW.names):
        yield pa.Table.from_batches([batch])


def _concerned(table: pa.Table, job: MeetJob) -> pa.Table:
    within = _within(table["cell"].to_numpy(), job)
    probes = table["probes"].combine_chunks()
    within[pc.list_parent_indices(probes).to_numpy()[_within(pc.list_flatten(probes).to_numpy(), job)]] = True
    return table.filter(pa.array(within))


def _within(cells: NDArray[np.int32], job: MeetJob) -> NDArray[np.bool_]:
    return (cells >= job.first) & (cells < job.end)


def _ordered(held: pa.Table, new: pa.Table) -> tuple[Pictures, Ints]:
    """All in their order, and of each its row in `held` and then `new`."""
    ids, areas = (np.concatenate([held[name].to_numpy(), new[name].to_numpy()]) for name in ("image_id", "area"))
    none = [np.empty((0, 0), np.float16)] if not len(ids) else []
    halves = np.concatenate([*none, *(halves_of(one["vector"]) for one in (held, new) if len(one))])
    order = in_order(ids, areas)
    return Pictures(ids[order], areas[order], unit(halves[order])), order
