"""Kendall's tau of scores against ratings, and how far it may be off for the pictures that happened to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from bench.alignment.judgements import Judged, Variant

RESAMPLES = 400
CONFIDENCE = 0.95

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Tau:
    """A tau times 100, as they are published, and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def tau(scores: Scores, ratings: Scores, variant: Variant) -> float:
    """Kendall's tau-b or tau-c times 100; 0 where all scores, or all ratings, are one."""
    found = float(kendalltau(scores, ratings, variant=variant).statistic)
    return 0.0 if np.isnan(found) else 100 * found


def agreement(scores: Sequence[float], judged: Judged, seed: int = 0) -> Tau:
    """The tau of one score a pair against every rating that the pair got, with a bootstrap over pictures.

    Pictures are drawn, not pairs: what is judged of one picture hangs together.
    """
    repeated, ratings = _each(scores, judged)
    owners = np.unique([pair.file for pair in judged.pairs for _ in pair.ratings], return_inverse=True)[1]
    places = _by_owner(owners)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([places[one] for one in rng.integers(0, len(places), len(places))])
        drawn.append(tau(repeated[rows], ratings[rows], judged.variant))
    return _told(tau(repeated, ratings, judged.variant), drawn)


def chance(judged: Judged, seed: int = 0) -> Tau:
    """The mean tau of scores that know nothing, and what 95 of 100 such scores stay within."""
    rng = np.random.default_rng(seed)
    drawn = [tau(*_each(rng.random(len(judged.pairs)), judged), judged.variant) for _ in range(RESAMPLES)]
    return _told(float(np.mean(drawn)), drawn)


def _each(scores: Sequence[float] | Scores, judged: Judged) -> tuple[Scores, Scores]:
    """A score and a rating for every judgement."""
    count = [len(pair.ratings) for pair in judged.pairs]
    ratings = np.array([rating for pair in judged.pairs for rating in pair.ratings])
    return np.repeat(np.asarray(scores, np.float64), count), ratings


def _told(value: float, drawn: Sequence[float]) -> Tau:
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Tau(value, float(low), float(high))


def _by_owner(owners: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The places of each owner's judgements."""
    order = np.argsort(owners, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(owners[order])) + 1)
