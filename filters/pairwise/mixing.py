"""Numbers drawn by ids: the same for the same seed and ids, in any order and on any number of workers."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Keys = NDArray[np.uint64]


def mixed(seed: int, *ids: Ids | Keys) -> Keys:
    """One number of 64 bits per row of the columns `ids`: each is added to what is there and mixed by splitmix64.

    Steele, Lea and Flood, Fast splittable pseudorandom number generators (OOPSLA 2014).
    """
    state = np.full(len(ids[0]), seed, np.uint64)
    for column in ids:
        state = _splitmix64(state + column.astype(np.int64, copy=False).view(np.uint64)) if len(column) else state
    return state


def drawn(seed: int, *ids: Ids | Keys) -> NDArray[np.float64]:
    """The same as numbers in [0, 1)."""
    return (mixed(seed, *ids) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def shuffled_parts(seed: int, images: Ids, texts: Ids, most: int) -> list[Ids]:
    """Places of all pairs in a drawn order, in the fewest parts of at most `most`; no two differ by more than one.

    The last part is no smaller than the others, for which a pair would have fewer rivals.
    """
    order = np.lexsort((texts, images, mixed(seed, images, texts)))
    return [part.astype(np.int64) for part in np.array_split(order, max(1, -(-len(order) // most)))]


def key_of(text: str) -> int:
    """A number of 63 bits that stands for a text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _splitmix64(state: Keys) -> Keys:
    with np.errstate(over="ignore"):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
