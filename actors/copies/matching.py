"""Find, on one shelf, which new pictures are near to one another or to those of earlier runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.copies.near import Ints, Pairs, Shelf, near_pairs
from actors.copies.shelves import ROWS, SHELVES, read_shelves, turned
from filters.recipe import Copies
from warehouse.hashes import TURNS, turned_bits, turned_pdq

SCHEMA = pa.schema({"image_id": pa.int64(), "other": pa.int64(), "distance": pa.int32()})


@dataclass(frozen=True)
class MatchJob:
    """The shelf of the pictures in `ours` against that in `theirs`, files of shelves; without any against itself.

    Pairs whose PDQs differ in at most `near_bits` are told: with `every` all of them, else as many as are needed to
    say which pictures hang together. With `turned` mirrored and rotated pictures are near too.
    """

    shelf: int
    ours: str
    theirs: tuple[str, ...]
    near_bits: int
    turned: bool
    every: bool
    out: str


def match_jobs(ours: str, theirs: Sequence[str], asked: Copies, folder: Path) -> list[MatchJob]:
    """A job a shelf of new pictures `ours` with themselves, and one with each share of `theirs`, files of shelves.

    Pairs that have to be alike by their embeddings too are all told, as each of them may turn out not to be.
    """
    if asked.near_bits is None or not pq.read_metadata(ours).num_rows:
        return []
    every = asked.min_similarity is not None
    there: list[tuple[str, tuple[str, ...]]] = [("new", ())]
    there += [(f"history-{place}", share) for place, share in enumerate(_shares(theirs))]
    return [
        MatchJob(
            number, ours, share, asked.near_bits, asked.turned, every, str(folder / f"near-{number}-{whom}.parquet")
        )
        for number in range(len(SHELVES))
        for whom, share in there
    ]


def _shares(files: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The files in shares of some ROWS of each shelf."""
    share: list[str] = []
    rows = 0
    for file in files:
        share.append(file)
        rows += pq.read_metadata(file).num_rows
        if rows >= ROWS * len(SHELVES):
            yield tuple(share)
            share, rows = [], 0
    if share:
        yield tuple(share)


def match(job: MatchJob) -> str:
    """Write the job's pairs as SCHEMA, whole or not at all; the name of the part."""
    target = Path(job.out)
    aside = target.with_name(f".{target.name}.writing")
    with pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        for ours, theirs in _shelves(job):
            for table in _tables(job, ours, theirs):
                writer.write_table(table)
    aside.replace(target)
    return job.out


def _shelves(job: MatchJob) -> Iterator[tuple[Shelf, Shelf]]:
    """Every two shelves to compare; of the same pictures each two once, and each one with itself."""
    for place, ours in enumerate(read_shelves([job.ours], job.shelf)):
        for other, theirs in enumerate(read_shelves(job.theirs or [job.ours], job.shelf)):
            if job.theirs or other > place:
                yield ours, theirs
            elif other == place:
                yield ours, ours


def _tables(job: MatchJob, ours: Shelf, theirs: Shelf) -> Iterator[pa.Table]:
    """What is near of two shelves, in tables of SCHEMA."""
    together = _Together(len(ours.ids) + (0 if ours is theirs else len(theirs.ids)))
    for pairs in _near(job, ours, theirs):
        there = pairs.theirs if ours is theirs else pairs.theirs + len(ours.ids)
        kept = slice(None) if job.every else together.add(pairs.ours, there)
        one, other = ours.ids[pairs.ours[kept]], theirs.ids[pairs.theirs[kept]]
        table = pa.table([one, other, pairs.distances[kept]], schema=SCHEMA)
        if table.num_rows:
            yield table.filter(pa.array(one != other))


def _near(job: MatchJob, ours: Shelf, theirs: Shelf) -> Iterator[Pairs]:
    """The pairs of the shelf as they are, and then as they would be turned."""
    name, band = SHELVES[job.shelf]
    yield from near_pairs(ours, theirs, band, job.near_bits)
    for turn in TURNS[1:] if job.turned else ():
        hashes = turned_bits(name, ours.hashes, turn)
        if hashes is not None:
            probing = turned(ours, hashes, turned_pdq(ours.pdqs, turn), band)
            yield from near_pairs(probing, theirs, band, job.near_bits)


class _Together:
    """Which rows hang together so far: union-find over arrays, the smaller root on top."""

    def __init__(self, rows: int) -> None:
        self.parents: Ints = np.arange(rows)

    def add(self, one: Ints, other: Ints) -> Ints:
        """The places of the pairs that may join what was apart before; from now on it is together."""
        left, right = self._roots(one), self._roots(other)
        new: Ints = np.flatnonzero(left != right)
        left, right = left[new], right[new]
        while len(left):
            np.minimum.at(self.parents, np.maximum(left, right), np.minimum(left, right))
            left, right = self._roots(left), self._roots(right)
            apart = left != right
            left, right = left[apart], right[apart]
        return new

    def _roots(self, rows: Ints) -> Ints:
        """The root of each row, to which it is tied directly from then on."""
        roots = self.parents[rows]
        while not np.array_equal(roots, above := self.parents[roots]):
            roots = above
        self.parents[rows] = roots
        return roots
