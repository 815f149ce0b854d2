"""NormSim: how near pictures are to a set of pictures."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filters.pairwise.pool import Floats

ROWS = 4096
"""Pictures that are compared at a time."""

TARGETS = 16_384
"""The same of the set: 256 MB with them."""


def normsim(pictures: Floats, target: Floats, norm: Literal[2, "inf"]) -> Floats:
    """Per row of `pictures` (n, width) the norm of its cosines with the rows of `target` (m, width), all of length 1.

    Both may be memory-mapped: they are read a block at a time.
    Wang et al. (arXiv 2405.19547); with `inf` it is the largest cosine: the most similar picture of the set.
    """
    parts = [slice(start, start + ROWS) for start in range(0, len(pictures), ROWS)]
    if norm == 2:
        gram = _gram(target)  # |F x|^2 = x' (F' F) x, however large the set
        values = [np.sqrt(np.maximum(((pictures[part] @ gram) * pictures[part]).sum(1), 0)) for part in parts]
    else:
        values = [_largest(pictures[part], target) for part in parts]
    return np.concatenate([np.empty(0), *values]).astype(np.float32)


def _gram(target: Floats) -> NDArray[np.float64]:
    """The sum of the outer products of the rows with themselves (width, width)."""
    gram = np.zeros((target.shape[1], target.shape[1]))
    for start in range(0, len(target), TARGETS):
        part = target[start : start + TARGETS].astype(np.float64)
        gram += part.T @ part
    return gram


def _largest(pictures: Floats, target: Floats) -> Floats:
    """Per picture the largest cosine."""
    best = np.full(len(pictures), -np.inf, np.float32)
    for start in range(0, len(target), TARGETS):
        np.maximum(best, (pictures @ target[start : start + TARGETS].T).max(1), out=best)
    return best
