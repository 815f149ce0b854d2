"""Cells: what is alike falls into one, in the same way every time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.models.cells import ROWS, fit_cells, nearest_cells
from actors.models.layers import Floats, HeadError

WIDTH = 24


def groups(count: int, each: int, spread: float = 0.05, seed: int = 0) -> tuple[Floats, np.ndarray]:
    """Unit vectors around `count` directions, in mixed order, and which direction each is of."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0][:count]
    of = rng.permutation(np.repeat(np.arange(count), each))
    vectors = (directions[of] + spread * rng.normal(size=(len(of), WIDTH))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), of


def test_what_is_alike_falls_into_one_cell() -> None:
    vectors, of = groups(12, 40)
    cells = nearest_cells(vectors, fit_cells(vectors, 12, seed=0, rounds=20))
    assert len({(one, cell) for one, cell in zip(of, cells, strict=True)}) == 12


def test_the_same_vectors_and_seed_give_the_same_centres_of_length_one() -> None:
    vectors, _ = groups(8, 30, spread=0.5)
    one, same, other = (fit_cells(vectors, 6, seed=seed, rounds=10) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    assert one.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, atol=1e-6)


def test_rounds_bring_pictures_nearer_to_their_centres() -> None:
    vectors, _ = groups(20, 30, spread=0.4)
    near = [(vectors @ fit_cells(vectors, 20, 3, rounds).T).max(1).mean() for rounds in (0, 1, 30)]
    assert near[0] < near[1] <= near[2]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 20))
def test_no_cell_is_empty_where_pictures_differ(count: int, seed: int, rounds: int) -> None:
    vectors, _ = groups(6, 4, spread=0.1, seed=seed)
    assert set(nearest_cells(vectors, fit_cells(vectors, count, seed, rounds))) == set(range(count))


def test_a_cell_whose_pictures_average_to_nothing_starts_again_at_one_of_them() -> None:
    vectors = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)
    for seed in range(8):
        (centre,) = fit_cells(vectors, 1, seed, 1)
        assert centre.tolist() in vectors.tolist()


def test_more_cells_than_pictures_that_differ_are_refused() -> None:
    vectors, _ = groups(3, 5, spread=0.0)
    assert len(fit_cells(vectors, 3, 0, 5)) == 3
    with pytest.raises(HeadError, match="4 cells need as many pictures that differ; of 15 no more than 3 do"):
        fit_cells(vectors, 4, 0, 5)
    with pytest.raises(HeadError, match="of 0 no more than 0 do"):
        fit_cells(vectors[:0], 1, 0, 5)


def test_many_vectors_are_compared_in_pieces_in_their_order() -> None:
    vectors, _ = groups(5, ROWS // 4)
    centres = fit_cells(vectors[:500], 5, 0, 5)
    np.testing.assert_array_equal(nearest_cells(vectors, centres), (vectors @ centres.T).argmax(1))
