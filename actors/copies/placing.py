"""Pictures in cells: which one each lives in, and which others hold pictures that may be like it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.copies.similar import Floats, unit
from actors.models.cells import moved_cells
from actors.models.vectors import write

REACH = 0.11
"""How far beyond the plane between its own cell and another a picture looks for those like it.

Two unit vectors of cosine 0.95 are sqrt(0.1) = 0.32 apart, so with that reach none would be missed; but only the part
of their difference that crosses the plane counts, one direction of many. Measured on 100,000 vectors with 2,000 pairs
of 0.95 to 0.999: of all pairs 0.966 are found with 0.07, 0.992 with 0.1, 0.996 with 0.11.
"""

BOTH = 0.07
"""The same where both of two pictures look for the other: 0.997 of the pairs are found by one of them."""

ROUNDS = 6
"""Of assigning and averaging."""

ROWS = 4096  # compared with all centres at a time; bounds memory

CELLS = pa.schema({"model": pa.string(), "cell": pa.int32(), "centre": pa.list_(pa.float32()), "fitted_on": pa.int64()})
PLACED = pa.schema(
    {
        "model": pa.string(),
        "cell": pa.int32(),
        "image_id": pa.int64(),
        "area": pa.int64(),
        "vector": pa.binary(),
        "probes": pa.list_(pa.int32()),
        "gaps": pa.list_(pa.float32()),
    }
)
"""A picture, its home, and the other cells within REACH of it with how far beyond their planes it is."""


@dataclass(frozen=True)
class FitJob:
    """Fit `count` cells on a sample, files of image_id and vector, of a collection of `fitted_on` pictures."""

    samples: tuple[str, ...]
    model: str
    count: int
    fitted_on: int
    out: str


@dataclass(frozen=True)
class PlaceJob:
    """Put the pictures of a file into cells, all into cell 0 where there is no file of those.

    The file has image_id, area and vector, as numbers or as half precision; where it has `model` too, only rows of
    that model count. `rows` are the first and the end of those that are read.
    """

    pictures: str
    rows: tuple[int, int]
    model: str
    cells: str | None
    out: str


def fit(job: FitJob) -> str:
    """The cells as a part of CELLS, no more than the sample has pictures.

    They begin at the pictures with the smallest ids, which are as good as drawn: choosing them apart from one another
    took ten times as long as all rounds, for cells that were no better (bench.copies).
    """
    tables = [table for table in map(pq.read_table, job.samples) if len(table)]
    ids = np.concatenate([table["image_id"].to_numpy() for table in tables])
    vectors = unit(np.concatenate([halves_of(table["vector"]) for table in tables])[np.argsort(ids)])
    centres = moved_cells(vectors, vectors[: job.count], ROUNDS)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(centres.ravel()), centres.shape[1])
    columns = [
        pa.repeat(job.model, len(centres)),
        pa.array(np.arange(len(centres), dtype=np.int32)),
        lists.cast(CELLS.field("centre").type),
        pa.repeat(job.fitted_on, len(centres)),
    ]
    write(pa.table(columns, schema=CELLS), job.out)
    return job.out


def place(job: PlaceJob) -> str:
    """The pictures as a part of PLACED, by cell and id."""
    table = _slice(job)
    halves = halves_of(table["vector"])
    if job.cells is None:
        cells, probes, gaps = np.zeros(len(halves), np.int32), _no_lists(len(halves)), _no_lists(len(halves))
    else:
        cells, probes, gaps = _homes(unit(halves), centres_of(job.cells))
    held = pa.table(
        [
            pa.repeat(job.model, len(halves)),
            pa.array(cells),
            table["image_id"],
            table["area"],
            binary(halves),
            probes.cast(PLACED.field("probes").type),
            gaps.cast(PLACED.field("gaps").type),
        ],
        schema=PLACED,
    )
    write(held.sort_by([("cell", "ascending"), ("image_id", "ascending")]), job.out, compression="none")
    return job.out


def centres_of(file: str) -> Floats:
    """Unit vectors (cells, width) of a part of CELLS, by cell."""
    return rows_of(pq.read_table(file).sort_by("cell")["centre"])


def rows_of(column: pa.ChunkedArray) -> Floats:
    """Lists of equal length as a matrix."""
    flat = pc.list_flatten(column.combine_chunks()).to_numpy(zero_copy_only=False)
    rows: Floats = flat.astype(np.float32, copy=False).reshape(len(column), -1 if len(column) else 0)
    return rows


def halves_of(column: pa.ChunkedArray) -> NDArray[np.float16]:
    """Vectors in half precision: as they are stored, or made of lists after their length was made one."""
    if not pa.types.is_binary(column.type):
        return unit(rows_of(column)).astype(np.float16)
    chunks = [
        np.frombuffer(b"".join(chunk.to_pylist()), "<f2").reshape(len(chunk), -1)
        for chunk in column.chunks
        if len(chunk)
    ]
    return np.concatenate(chunks) if chunks else np.empty((0, 0), np.float16)


def binary(halves: NDArray[np.float16]) -> pa.Array:
    """The rows as bytes, little endian."""
    data = np.ascontiguousarray(halves, "<f2")
    size = data.itemsize * data.shape[1]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(max(size, 1)), len(data), [None, pa.py_buffer(data)]).cast(
        pa.binary()
    )


def _slice(job: PlaceJob) -> pa.Table:
    """The rows of the job, of which other models' are left out."""
    file = pq.ParquetFile(job.pictures)
    first, end = job.rows
    columns = [name for name in ("model", "image_id", "area", "vector") if name in file.schema_arrow.names]
    groups, skipped = _groups(file, first, end)
    table = file.read_row_groups(groups, columns=columns).slice(first - skipped, end - first)
    return table.filter(pc.equal(table["model"], job.model)) if "model" in columns else table


def _groups(file: pq.ParquetFile, first: int, end: int) -> tuple[list[int], int]:
    """The row groups that hold the rows from `first` to `end`, and how many rows are before them."""
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    ends = np.cumsum(sizes, dtype=np.int64)
    groups = [group for group, stop in enumerate(ends) if stop > first and stop - sizes[group] < end]
    return groups, int(ends[groups[0]] - sizes[groups[0]]) if groups else first


def _homes(vectors: Floats, centres: Floats) -> tuple[NDArray[np.int32], pa.Array, pa.Array]:
    """Per row the nearest cell, the others within REACH, and how far beyond the plane to each of those the row is."""
    apart = np.sqrt(np.maximum(2 - 2 * centres @ centres.T, np.float32(1e-9)))
    most = REACH * apart.max()
    homes, counts, probes, gaps = [], [], [], []
    for start in range(0, len(vectors), ROWS):
        near = vectors[start : start + ROWS] @ centres.T
        home, best = near.argmax(1), near.max(1)
        row, cell = np.divmod(np.flatnonzero(near >= (best - most)[:, None]), len(centres))
        away = (best[row] - near[row, cell]) / apart[home[row], cell]
        within = (away <= REACH) & (cell != home[row])
        homes.append(home.astype(np.int32))
        counts.append(np.bincount(row[within], minlength=len(near)))
        probes.append(cell[within].astype(np.int32))
        gaps.append(away[within])
    if not homes:
        return np.empty(0, np.int32), _no_lists(0), _no_lists(0)
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int32))
    lists = (pa.ListArray.from_arrays(offsets, pa.array(np.concatenate(one))) for one in (probes, gaps))
    return np.concatenate(homes), *lists


def _no_lists(count: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.int32()))
