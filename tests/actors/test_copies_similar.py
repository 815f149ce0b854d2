"""The search for the most similar picture: exact, whatever is compared in which order."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.copies import similar
from actors.copies.similar import Floats, Pairs, Pictures, Search, in_order, unit

WIDTH = 16


def pictures(count: int, seed: int, alike: int = 1) -> Pictures:
    """In their order; each vector is there `alike` times, so that cosines tie, and some differ by a rounding."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(rng.normal(size=(-(-count // alike), WIDTH)), alike, axis=0)[:count]
    vectors[::3] += 1e-7 * rng.normal(size=vectors[::3].shape)
    ids, areas = rng.permutation(count).astype(np.int64), rng.integers(1, 4, count)
    order = in_order(ids, areas)
    return Pictures(ids[order], areas[order], unit(vectors[order].astype(np.float32)))


def one_by_one(vectors: Floats, join: float | None) -> tuple[dict[int, int], set[tuple[int, int]]]:
    """The best before each, and all pairs above `join`, each cosine alone in double precision."""
    nearest, above = {}, set()
    for later in range(1, len(vectors)):
        double = vectors[: later + 1].astype(np.float64)
        cosines = np.add.reduce(double[:later] * double[later], axis=1).astype(np.float32)
        nearest[later] = int(np.argmax(np.clip(cosines, -1, 1)))
        above |= {(later, int(one)) for one in np.flatnonzero(cosines > join)} if join is not None else set()
    return nearest, above


def best(found: Pairs) -> dict[int, int]:
    order = np.lexsort((found.earlier, -found.cosines, found.later))
    return dict(zip(found.later[order][::-1].tolist(), found.earlier[order][::-1].tolist(), strict=True))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar, "ROWS", 7)
    monkeypatch.setattr(similar, "COLUMNS", 5)
    monkeypatch.setattr(similar, "VERIFIED", 11)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(0, 99), st.integers(1, 5), st.sampled_from([None, 0.3, 0.999999]))
def test_all_with_all_is_what_each_pair_alone_says(count: int, seed: int, alike: int, join: float | None) -> None:
    some = pictures(count, seed, alike)
    search = Search(some, join)
    search.meet_all(np.arange(count))
    found = search.found()
    nearest, above = one_by_one(some.vectors, join)
    assert best(found) == nearest
    kept = {(later, earlier) for later, earlier in zip(found.later.tolist(), found.earlier.tolist(), strict=True)}
    assert kept == above | set(nearest.items())
    assert len(found.later) == len(kept)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 60), st.integers(0, 99), st.integers(1, 4), st.integers(1, 6))
def test_who_meets_whom_in_which_order_does_not_matter(count: int, seed: int, alike: int, runs: int) -> None:
    """Newcomers meet those before them, in as many runs as it takes, to the last bit of every cosine."""
    some = pictures(count, seed, alike)
    whole, parted = Search(some, 0.5), Search(some, 0.5)
    whole.meet_all(np.arange(count))
    rng = np.random.default_rng(seed)
    bounds = [0, *sorted(rng.integers(0, count, runs - 1)), count]
    arrivals = rng.permutation(count)
    for start, end in pairwise(bounds):
        held, new = np.sort(arrivals[:start]), np.sort(arrivals[start:end])
        if len(held) and len(new):
            parted.meet(new, held)
        parted.meet_all(new)
    for one, other in zip(vars(whole.found()).values(), vars(parted.found()).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_first_in_the_order_has_nobody_before_it_and_larger_ones_go_first() -> None:
    ids, areas = np.array([3, 1, 2, 4]), np.array([10, 10, 20, 5])
    order = in_order(ids, areas)
    assert ids[order].tolist() == [2, 1, 3, 4]
    search = Search(Pictures(ids[order], areas[order], unit(np.ones((4, WIDTH), np.float32))), None)
    search.meet_all(np.arange(4))
    found = search.found()
    assert found.later.tolist() == [1, 2, 3]
    assert found.earlier.tolist() == [0, 0, 0]
    assert found.cosines.tolist() == [1, 1, 1]


def test_a_pair_that_meets_twice_is_one_and_nobody_meets_itself() -> None:
    some, everyone = pictures(30, 7), np.arange(30)
    once, again = Search(some, 0.1), Search(some, 0.1)
    once.meet_all(everyone)
    again.meet(everyone, everyone)
    again.meet_all(everyone)
    for one, other in zip(vars(once.found()).values(), vars(again.found()).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(once.found().later) > 100
