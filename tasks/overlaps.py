"""Remove from a run what overlaps a protected set; where nothing is protected, that is one question."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from actors.copies.matching import MatchJob
from actors.copies.shelves import SHELVES, write_shelves
from filters.recipe import Copies
from warehouse.overlaps import Bounds, Sides, write_cleared, write_sides
from warehouse.protected import protected_hash, without_vectors

Match = Callable[[Sequence[MatchJob], int], Sequence[str]]
"""Does jobs for so many pictures; the names of their parts."""


@dataclass(frozen=True)
class Stood:
    """A run whose copies are known: its parts, the folder for more, and what stands for what it is told to protect."""

    warehouse: str
    protected: str
    seen: str
    joined: str
    vectors: Sequence[str]
    folder: Path


class ProtectedChanged(Exception):
    """A set was registered or removed while a run went on; the message says what to do next."""


def remove_overlaps(stood: Stood, asked: Copies, model: str | None, match: Match) -> str:
    """The part of who stands for whom, where every group that overlaps a protected set has its reason.

    What is near is what the recipe holds for copies, but that `min_similarity` is not asked: it tells shots of one
    scene apart, and a benchmark's scene is not to be trained on either. Raises ProtectedChanged where other sets are
    protected than when the run was named: its name says what it was compared with.
    """
    if protected_hash(stood.warehouse) != stood.protected:
        raise ProtectedChanged("Other sets are protected than when this run began.\nRun again: what is done stays.")
    out = stood.folder / "protected"
    sides = write_sides(stood.warehouse, stood.seen, stood.joined, out)
    if sides is None:
        return stood.joined
    bounds = Bounds(asked.near_bits, asked.semantic.join if asked.semantic is not None else None, model)
    if bounds.join is not None:
        for name in without_vectors(stood.warehouse, model):
            print(
                f"copies: {name} is compared by bytes and hashes only where it has no vectors by this recipe's model; "
                f"`zeromill protect {name} FOLDER --recipe R` embeds it",
                file=sys.stderr,
            )
    rows = pq.read_metadata(sides.ours).num_rows
    near = match(_jobs(sides, asked, out), rows) if rows else []
    return write_cleared(stood.warehouse, stood.joined, sides, near, stood.vectors, bounds, out)


def _jobs(sides: Sides, asked: Copies, out: Path) -> list[MatchJob]:
    """A job a shelf of the run's pictures against that of the protected ones; all pairs, as each may be another set."""
    if asked.near_bits is None or not pq.read_metadata(sides.theirs).num_rows:
        return []
    ours = write_shelves(sides.ours, str(out / "shelves-ours.parquet"))
    theirs = write_shelves(sides.theirs, str(out / "shelves-theirs.parquet"))
    return [
        MatchJob(number, ours, (theirs,), asked.near_bits, asked.turned, True, str(out / f"near-{number}.parquet"))
        for number in range(len(SHELVES))
    ]
