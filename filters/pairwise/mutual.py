"""TaiSu's retrieval filter: is a pair's text its picture's best in a small group, or the picture the text's."""

from __future__ import annotations

import numpy as np

from filters.pairwise.mixing import shuffled_parts
from filters.pairwise.pool import Floats, Pool

EQUAL = np.float32(1e-6)
"""Cosines nearer to each other than that are one: what single precision makes of equal vectors."""


def mutual_top1(pool: Pool, group: int, seed: int) -> Floats:
    """Per pair in which directions it is top 1 of its group: 0 none, 1 picture to text, 2 text to picture, 3 both.

    TaiSu's semantic_filtering/cleaner.py keeps 1, 2 and 3 with groups of 120 (Liu et al., NeurIPS 2022 Datasets). A
    tie is a top 1 for each.
    """
    directions = np.zeros(len(pool.images), np.float32)
    for places in shuffled_parts(seed, pool.images, pool.text_ids, group):
        pictures, texts = pool.vectors(places)
        # threads of a matrix product wait for each other longer than one needs for so small a group
        directions[places] = tops(np.einsum("ik,jk->ij", pictures, texts))
    return directions


def tops(cosines: Floats) -> Floats:
    """The directions (n,) of the pairs on the diagonal of pictures by texts (n, n)."""
    own = cosines.diagonal() + EQUAL
    directions: Floats = ((own >= cosines.max(1)) + 2 * (own >= cosines.max(0))).astype(np.float32)
    return directions
