"""The bench of similar pictures runs to its end at a small size, on vectors that are like those of real pictures."""

import math
from pathlib import Path

import numpy as np
import pytest

from bench.copies.card import card
from bench.copies.semantic import growing, semantic
from bench.copies.vectors import realistic
from tasks import similar


def test_vectors_lie_in_a_cone_with_the_planted_pairs_and_few_others_near() -> None:
    vectors = realistic(4_000, 64, seed=3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    assert 0.35 < cosines.mean() < 0.65
    assert 80 <= (np.triu(cosines) > 0.9499).sum() < 160
    np.testing.assert_array_equal(vectors, realistic(4_000, 64, seed=3))


def test_a_first_run_is_measured_against_brute_force(tmp_path: Path) -> None:
    lines = list(semantic(tmp_path, 3_000, 64, apart=False))
    assert [line.goal for line in lines] == [5.0, 5.0, 0.99, 0.0]
    assert all(0 < line.ratio < math.inf for line in lines)
    assert lines[2].peer >= 60
    assert lines[2].ratio >= 0.95


def test_newcomers_are_measured_against_histories_in_one_cell_and_in_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.copies.semantic.BOUND", 2_000)
    lines = list(growing(tmp_path, (1_000, 4_000), 500, 64, apart=False))
    assert len(lines) == 4
    assert lines[1].ratio == 1
    assert lines[3].ratio >= 0.9
    assert similar.BOUND > 2_000


def test_the_path_of_a_card_runs_on_a_cpu_and_finds_all_pairs() -> None:
    share, found = card("cpu", 3_000, 64)
    assert 0 < share.ratio < 1.5
    assert found.peer > 0
    assert found.ratio == 1
