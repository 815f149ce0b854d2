"""MetaCLIP's balancing: texts that name frequent entries stay by chance, those that name rare ones always."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from filters.pairwise.mixing import Ids, drawn, key_of
from filters.pairwise.pool import Floats

STAYS = float(np.nextafter(np.float32(1), np.float32(2)))
"""The least value of `balanced` that stays: the first number of single precision above 1."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Which entries which pairs name: pair `pairs[i]` of a pool names the entry `entries[i]` of a list."""

    pairs: Ids
    entries: Ids


def counted(matches: Matches, entries: int) -> Ids:
    """How many pairs name each entry."""
    return np.bincount(matches.entries, minlength=entries).astype(np.int64)


def balanced(
    ids: tuple[Ids, Ids], matches: Matches, names: Sequence[str], chance: NDArray[np.float64], seed: int
) -> Floats:
    """Per pair the largest p / u over the entries that it names, where p is the chance of an entry; 0 for none.

    `ids` are those of the pairs' pictures and texts, `names` and `chance` are the entries'. u is drawn by the ids of
    the pair and by the entry, so that the pairs above 1 are those of which some entry says u < p (MetaCLIP's
    metaclip/metaclip1/balancing.py), and the same ones in every order and for every longer list.
    """
    images, texts = ids
    keys = np.array([key_of(name) for name in names], np.int64)
    drawn_by = drawn(seed, images[matches.pairs], texts[matches.pairs], keys[matches.entries])
    with np.errstate(divide="ignore"):
        ratios = chance[matches.entries] / drawn_by
    largest = np.zeros(len(images))
    np.maximum.at(largest, matches.pairs, ratios)
    # one that is above 1 stays so in single precision
    return np.where(largest > 1, np.maximum(largest.astype(np.float32), np.float32(STAYS)), largest.astype(np.float32))


def chances(counts: Ids, unspaced: NDArray[np.bool_], most: int, most_unspaced: int | None) -> NDArray[np.float64]:
    """The chance of each entry, t / max(count, t), with a t for spaced and one for unspaced scripts.

    Where the latter is null it is the one of the same share in the tail, as MetaCLIP 2 has it for each language
    (arXiv 2507.22062); without a spaced entry that is named there is no such share, and both are the same.
    """
    spaced = counts[~unspaced]
    if most_unspaced is None:
        most_unspaced = most
        if spaced.sum() and counts[unspaced].sum():
            most_unspaced = bound_of_tail(counts[unspaced], tail_share(spaced, most))
    bound = np.where(unspaced, most_unspaced, most)
    kept: NDArray[np.float64] = bound / np.maximum(counts, bound)
    return kept


def tail_share(counts: Ids, bound: int) -> float:
    """The share of matches in entries with fewer than `bound`; t_to_p of metaclip/curation/curate.py."""
    return float(counts[counts < bound].sum() / counts.sum())


def bound_of_tail(counts: Ids, share: float) -> int:
    """The count of an entry up to which the share of matches is nearest to `share`; p_to_t there."""
    ascending = np.sort(counts)
    return max(1, int(ascending[np.abs(np.cumsum(ascending) / ascending.sum() - share).argmin()]))
