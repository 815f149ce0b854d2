"""The scoring model of the demo's world, shipped and trained anew."""

from pathlib import Path

import numpy as np

from demo.train_scorer import auc, learn_merges, measure, train

SCORER = Path(__file__).parents[2] / "demo" / "scorer"


def test_the_shipped_model_tells_right_from_wrong_in_both_languages() -> None:
    figures = measure(SCORER, scenes=500, seed=7 * 2**40)
    for language in ("en", "zh"):
        assert figures[f"match_{language}"] >= 0.99
        assert figures[f"query_{language}"] >= 0.99
        assert figures[f"one_attribute_{language}"] >= 0.95


def test_the_shipped_weights_are_small_enough_for_a_repository() -> None:
    assert (SCORER / "open_clip_model.safetensors").stat().st_size < 4_000_000


def test_a_short_training_learns(tmp_path: Path) -> None:
    train(tmp_path, scenes=640, steps=70, batch=32)
    assert measure(tmp_path, scenes=150)["match_en"] > 0.7


def test_auc_counts_ties_half() -> None:
    ones, mixed = np.ones(4, np.float32), np.array([0, 1, 2, 1], np.float32)
    assert auc(ones, ones) == 0.5
    assert auc(ones, mixed) == 0.5
    assert auc(ones * 3, mixed) == 1.0


def test_merges_fill_the_vocabulary_and_do_not_repeat() -> None:
    merges = learn_merges(["a red star", "一个红色星星"], 60)
    assert len(merges) == len(set(merges)) == 60
    assert ("r", "e") in merges or ("e", "d</w>") in merges
