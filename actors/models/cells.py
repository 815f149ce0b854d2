"""Cells of a collection: spherical k-means over unit vectors, for choosing evenly from what is alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.models.layers import Floats, HeadError

ROWS = 4096  # compared with all centres at a time; bounds memory
EQUAL = 1e-6  # of 1 - cosine: what single precision makes of equal vectors


def fit_cells(vectors: Floats, count: int, seed: int, rounds: int) -> Floats:
    """`count` unit vectors (count, width) in the middle of what is alike among unit `vectors` (n, width).

    Seeded as k-means++ does, then at most `rounds` of assigning and averaging. The same vectors in the same order
    give the same centres: hand them over in the order of their ids. HeadError for fewer distinct vectors than cells.
    """
    return moved_cells(vectors, _seeded(vectors, count, np.random.default_rng(seed)), rounds)


def moved_cells(vectors: Floats, centres: Floats, rounds: int) -> Floats:
    """The unit `centres` (count, width) after at most `rounds` of assigning unit `vectors` to them and averaging."""
    before = np.full(len(vectors), -1)
    for _ in range(rounds):
        cells, cosines = _assigned(vectors, centres)
        if np.array_equal(cells, before):
            break
        before, centres = cells, _averaged(vectors, cells, cosines, len(centres))
    return centres


def nearest_cells(vectors: Floats, centres: Floats) -> NDArray[np.int64]:
    """Per row of `vectors` (n, width) the index of the centre with the largest cosine, the smallest of equal ones."""
    return _assigned(vectors, centres)[0]


def _assigned(vectors: Floats, centres: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Per row the nearest centre, and its cosine."""
    cells, cosines = np.empty(len(vectors), np.int64), np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), ROWS):
        rows = slice(start, start + ROWS)
        compared = vectors[rows] @ centres.T
        cells[rows], cosines[rows] = compared.argmax(1), compared.max(1)
    return cells, cosines


def _seeded(vectors: Floats, count: int, rng: np.random.Generator) -> Floats:
    """Rows chosen one after the other, each in proportion to its distance (2 - 2 cosine) from those before.

    Of a few that are drawn the one stays that leaves the others nearest: a single one often lands where one is.
    """
    chosen: list[int] = []
    apart = np.full(len(vectors), 2.0)
    for _ in range(count):
        if not apart.any():
            raise HeadError(
                f"{count} cells need as many pictures that differ; of {len(vectors)} no more than {len(chosen)} do.\n"
                "Ask for fewer with --count, or fit on a larger release."
            )
        total = np.cumsum(apart)
        drawn = np.searchsorted(total, rng.random(2 + int(np.log(count))) * total[-1], side="right")
        away = 1 - (vectors @ vectors[drawn].T).astype(np.float64)
        left = np.minimum(apart[:, None], np.where(away < EQUAL, 0, away))
        best = int(left.sum(0).argmin())
        chosen.append(int(drawn[best]))
        apart = left[:, best]
    return vectors[chosen]


def _averaged(vectors: Floats, cells: NDArray[np.int64], cosines: Floats, count: int) -> Floats:
    """The direction of each cell's mean; a cell without one starts again at a row that is far from its own centre."""
    order = np.argsort(cells, kind="stable")
    filled, starts = np.unique(cells[order], return_index=True)
    sums = np.zeros((count, vectors.shape[1]), np.float64)
    sums[filled] = np.add.reduceat(vectors[order], starts, axis=0, dtype=np.float64)
    lengths = np.linalg.norm(sums, axis=1)
    lost = np.flatnonzero(lengths < 1e-6)
    sums[lost] = vectors[np.argsort(cosines, kind="stable")[: len(lost)]]
    lengths[lost] = np.linalg.norm(sums[lost], axis=1)
    centres: Floats = (sums / lengths[:, None]).astype(np.float32)
    return centres
