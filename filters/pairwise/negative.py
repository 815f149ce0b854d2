"""negCLIPLoss: a pair's cosine, less what its picture and its text have in common with all others of a batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filters.pairwise.mixing import shuffled_parts
from filters.pairwise.pool import Floats, Pool

ROWS = 1024
"""Of a batch that are compared with all of it at a time: 128 MB where a batch has 32,768."""


def negative_loss(pool: Pool, temperature: float, batch: int, rounds: int, seed: int) -> Floats:
    """The mean over `rounds` of seeded batchings of `in_batch`; round r is drawn by seed + r.

    Wang et al., CLIPLoss and norm-based data selection methods (arXiv 2405.19547): 32,768 pairs a batch, T = 0.01
    for OpenAI's CLIP, at least 5 rounds. Batches are of one size here, where theirs leave a smaller last one.
    """
    total = np.zeros(len(pool.images), np.float64)
    for number in range(rounds):
        for places in shuffled_parts(seed + number, pool.images, pool.text_ids, batch):
            pictures, texts = pool.vectors(places)
            total[places] += in_batch(pictures, texts, temperature)
    means: Floats = (total / rounds).astype(np.float32)
    return means


def in_batch(pictures: Floats, texts: Floats, temperature: float) -> NDArray[np.float64]:
    """cos_ii - T/2 log sum_j exp(cos_ij / T) - T/2 log sum_j exp(cos_ji / T), with j = i in both sums.

    `pictures` and `texts` (n, width) are of length 1.
    """
    blocks = ((start, pictures[start : start + ROWS] @ texts.T) for start in range(0, len(pictures), ROWS))
    return of_cosines(blocks, len(pictures), temperature)


def of_cosines(blocks: Iterator[tuple[int, Floats]], size: int, temperature: float) -> NDArray[np.float64]:
    """The same of the rows of a square of cosines, given as blocks of rows with the number of their first."""
    own, rows = np.empty(size), np.empty(size)
    column_top, column_sum = np.full(size, -np.inf, np.float32), np.zeros(size)
    for start, cosines in blocks:
        here = slice(start, start + len(cosines))
        own[here] = cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))]
        top = cosines.max(1)
        rows[here] = top / temperature + np.log(_summed(cosines - top[:, None], temperature, 1))
        raised = np.maximum(column_top, cosines.max(0))
        column_sum *= np.exp((column_top.astype(np.float64) - raised) / temperature)
        column_sum += _summed(np.subtract(cosines, raised, out=cosines), temperature, 0)
        column_top = raised
    columns = column_top / temperature + np.log(column_sum)
    return own - temperature / 2 * (rows + columns)


def _summed(below: Floats, temperature: float, axis: int) -> NDArray[np.float64]:
    """Sums of exp(below / T), which is overwritten; what is 0.87 T below the top or more adds nothing that counts."""
    below *= np.float32(1 / temperature)
    np.exp(below, out=below)
    sums: NDArray[np.float64] = below.sum(axis, dtype=np.float64)
    return sums
