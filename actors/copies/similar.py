"""Who is most like whom among pictures that meet: products of blocks find the candidates, exact cosines decide.

The order of pictures is larger area first, then smaller id: content alone, so that a later run does not change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ROWS, COLUMNS = 1024, 8192
"""Of a block of products: 32 MB."""

VERIFIED = 4096
"""Pairs whose exact cosine is computed at a time: 32 MB in double precision."""

NOTHING = np.float32(-2)
"""Below every cosine."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures, each once and in their order: ids, areas in pixels, and unit vectors (n, width)."""

    ids: Ints
    areas: Ints
    vectors: Floats

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Two pictures by their places, the later one in the order first, and their cosine."""

    later: Ints
    earlier: Ints
    cosines: Floats


def in_order(ids: Ints, areas: Ints) -> Ints:
    """The rows by larger area, then by smaller id."""
    return np.lexsort((ids, -areas))


def unit(vectors: Floats | NDArray[np.float16]) -> Floats:
    """The rows in single precision, of length one; what a row becomes depends on no other."""
    rows = vectors.astype(np.float32)
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        some /= np.sqrt(np.add.reduce(some * some, axis=1))[:, None]
    return rows


@dataclass(eq=False)
class Search:
    """Pairs that may be the best of their later picture, or above `join`, while blocks of products go by.

    A product in single precision is off by no more than `width` roundings, in whatever order it was summed up:
    what is within that of the best so far is kept, and `found` decides in double precision. So the answer depends
    neither on blocks nor on the library that multiplies.
    """

    pictures: Pictures
    join: float | None
    best: Floats = field(init=False)
    held: list[Pairs] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.best = np.full(len(self.pictures), NOTHING)
        self.off = np.float32(2 * (self.pictures.vectors.shape[1] + 2) * 2.0**-24)

    def meet(self, some: Ints, others: Ints) -> None:
        """Compare each of some with each of others, by their places, ascending; one that is in both is left out."""
        for rows in _blocks(some, ROWS):
            queries = self.pictures.vectors[rows]
            after, end = np.searchsorted(others, rows[0]), np.searchsorted(others, rows[-1], side="right")
            for part in (others[:after], others[after:end], others[end:]):
                for columns in _blocks(part, COLUMNS):
                    self._block(rows, columns, queries @ self.pictures.vectors[columns].T)

    def meet_all(self, some: Ints) -> None:
        """Compare each with each, by their places, ascending; every pair once."""
        for rows in _blocks(some, ROWS):
            queries = self.pictures.vectors[rows]
            before = some[: np.searchsorted(some, rows[-1])]
            for columns in _blocks(before, COLUMNS):
                products = queries @ self.pictures.vectors[columns].T
                if columns[-1] >= rows[0]:
                    products[rows[:, None] <= columns] = NOTHING
                self._keep(rows, columns, products)

    def found(self) -> Pairs:
        """Of each later picture the most similar one before it, the first of equal ones; and all pairs above `join`."""
        pairs = _joined(self.held)
        pairs = _taken(pairs, pairs.cosines >= self._least(pairs.later))
        pairs = Pairs(pairs.later, pairs.earlier, self._exact(pairs))
        order = np.lexsort((pairs.earlier, -pairs.cosines, pairs.later))
        pairs = _taken(pairs, order)
        kept = np.diff(pairs.later, prepend=-1) != 0
        if self.join is not None:
            same = np.zeros(len(kept), bool)  # two cells may have met the same pair
            same[1:] = (np.diff(pairs.later) == 0) & (np.diff(pairs.earlier) == 0)
            kept |= (pairs.cosines > self.join) & ~same
        return _taken(pairs, kept)

    def _block(self, rows: Ints, columns: Ints, products: Floats) -> None:
        """Who is later of two differs within a block only where its rows and columns overlap in the order."""
        if columns[-1] < rows[0]:
            self._keep(rows, columns, products)
        elif columns[0] > rows[-1]:
            self._keep(columns, rows, products.T)
        else:
            later = rows[:, None] > columns
            self._keep(rows, columns, np.where(later, products, NOTHING))
            later |= rows[:, None] == columns
            self._keep(columns, rows, np.where(later, NOTHING, products).T)

    def _keep(self, later: Ints, earlier: Ints, products: Floats) -> None:
        """Keep what is near to the best so far of its row; `products` may be the transpose of a block."""
        self.best[later] = np.maximum(self.best[later], products.max(1))
        within = products >= self._least(later)[:, None]
        if within.flags.c_contiguous:
            row, column = np.divmod(np.flatnonzero(within), within.shape[1])
        else:
            column, row = np.divmod(np.flatnonzero(within.T), within.shape[0])
        self.held.append(Pairs(later[row], earlier[column], products[row, column]))

    def _least(self, later: Ints) -> Floats:
        """What a product must reach to matter; more than NOTHING, which stands for a pair that is none."""
        best = self.best[later]
        least = best if self.join is None else np.minimum(best, np.float32(self.join))
        return np.maximum(least - self.off, np.float32(-1.5))

    def _exact(self, pairs: Pairs) -> Floats:
        cosines = np.empty(len(pairs.later), np.float32)
        for start in range(0, len(cosines), VERIFIED):
            some = slice(start, start + VERIFIED)
            one = self.pictures.vectors[pairs.later[some]].astype(np.float64)
            cosines[some] = np.add.reduce(one * self.pictures.vectors[pairs.earlier[some]], axis=1)
        return np.clip(cosines, -1, 1)


def _blocks(places: Ints, size: int) -> Iterator[Ints]:
    return (places[start : start + size] for start in range(0, len(places), size))


def _joined(held: list[Pairs]) -> Pairs:
    none = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    parts = [none, *held]
    later, earlier = (np.concatenate([getattr(one, name) for one in parts]) for name in ("later", "earlier"))
    return Pairs(later, earlier, np.concatenate([one.cosines for one in parts]))


def _taken(pairs: Pairs, which: NDArray[np.bool_] | Ints) -> Pairs:
    return Pairs(pairs.later[which], pairs.earlier[which], pairs.cosines[which])
