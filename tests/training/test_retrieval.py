"""Retrieval figures."""

import numpy as np
import pytest

from training.retrieval import recalls


def _unit(rows: list[list[float]]) -> np.ndarray:
    array = np.array(rows, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_perfect_vectors_find_everything() -> None:
    vectors = np.eye(20, dtype=np.float32)
    assert set(recalls(vectors, vectors, np.arange(20)).values()) == {1.0}


def test_one_answer_to_everything_finds_nothing() -> None:
    vectors = np.ones((20, 3), np.float32)
    assert recalls(vectors, vectors, np.arange(20))["r_mean"] == 0


def test_any_text_of_a_picture_is_a_hit_but_each_text_must_find_its_picture() -> None:
    images = _unit([[1, 0], [0, 1]])
    texts = _unit([[1, 0.1], [0.1, 1], [0.1, 1]])  # the second text of picture 0 speaks of picture 1
    found = recalls(images, texts, np.array([0, 0, 1]))
    assert found["image_to_text_r1"] == 0.5  # picture 1 ties with a text of picture 0
    assert found["text_to_image_r1"] == pytest.approx(2 / 3)
    assert found["image_to_text_r5"] == found["text_to_image_r5"] == 1


def test_the_mean_is_that_of_the_six_recalls_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    images = _unit(rng.normal(size=(50, 8)).tolist())
    texts = _unit((np.repeat(images, 2, 0) + rng.normal(0, 0.4, (100, 8))).tolist())
    owners = np.repeat(np.arange(50), 2)
    whole = recalls(images, texts, owners)
    assert whole["r_mean"] == pytest.approx(np.mean([v for k, v in whole.items() if k != "r_mean"]))
    monkeypatch.setattr("training.retrieval.ROWS", 7)
    assert recalls(images, texts, owners) == whole
