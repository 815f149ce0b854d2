"""Tags: prompts in the languages of the model, and the nearest concepts with their probability."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.models.concepts import ROWS, TEMPLATES, ConceptError, Floats, concept_vectors, nearest, prompts
from filters.concepts import Concept, load_concepts

BEE, ANT = Concept("bee", "a bee", "蜜蜂"), Concept("ant", "", "蚂蚁")


def unit(count: int, width: int = 8, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    normed: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normed


def test_a_concept_is_asked_for_in_the_languages_of_the_model() -> None:
    assert prompts([BEE], ["en", "und"]) == [["a bee", "a photo of a bee", "a picture of a bee"]]
    assert prompts([BEE], ("zh",)) == [["蜜蜂", "一张蜜蜂的照片", "蜜蜂的图片"]]
    both, only = prompts([BEE, ANT], None)
    assert both == prompts([BEE], ["en"])[0] + prompts([BEE], ["zh"])[0]
    assert only == prompts([ANT], ["zh"])[0]
    with pytest.raises(ConceptError, match=r"ant has no words in a language of the model \(en\)"):
        prompts([BEE, ANT], ["en"])
    with pytest.raises(ConceptError, match=r"\(de\)"):
        prompts([BEE], ["de"])


def test_every_concept_that_is_shipped_has_all_its_texts() -> None:
    groups = prompts(load_concepts("everyday"), None)
    assert {len(group) for group in groups} == {sum(map(len, TEMPLATES.values()))}


def test_a_concept_is_the_direction_of_the_mean_of_its_texts() -> None:
    encoded = unit(5)
    vectors = concept_vectors(encoded, [["a", "b"], ["c"], ["d", "e"]])
    assert vectors.dtype == np.float32
    for vector, texts in zip(vectors, (encoded[:2], encoded[2:3], encoded[3:]), strict=True):
        np.testing.assert_allclose(vector, texts.mean(0) / np.linalg.norm(texts.mean(0)), atol=1e-6)


@pytest.mark.parametrize("sigmoid", [False, True], ids=["softmax", "sigmoid"])
def test_probabilities_are_those_of_the_models_own_training(sigmoid: bool) -> None:
    vectors, concepts = unit(20), unit(7, seed=1)
    logits = torch.from_numpy(vectors) @ torch.from_numpy(concepts).T * 10 - 3
    chances = logits.sigmoid() if sigmoid else logits.softmax(1)
    places, said = nearest(vectors, concepts, 10, -3, sigmoid, 3)
    assert places.shape == said.shape == (20, 3)
    assert said.dtype == np.float32
    best = chances.topk(3)
    np.testing.assert_array_equal(places, best.indices.numpy())
    np.testing.assert_allclose(said, best.values.numpy(), atol=1e-6)


def test_of_equal_concepts_the_first_of_the_list_comes_first() -> None:
    concepts = unit(2)[[1, 0, 0, 1, 0] * 40]
    places, said = nearest(concepts[1:2], concepts, 100, 0, False, 120)
    assert places[0].tolist() == [place for place in range(200) if place % 5 in (1, 2, 4)]
    np.testing.assert_allclose(said, 1 / 120, atol=1e-6)


def test_a_short_list_gives_all_it_has_and_nothing_gives_nothing() -> None:
    places, said = nearest(unit(3), unit(2, seed=1), 100, 0, False, 5)
    assert places.shape == said.shape == (3, 2)
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-6)
    assert nearest(unit(3)[:0], unit(2), 100, 0, False, 5)[0].shape == (0, 2)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(1, 120))
def test_a_large_scale_overflows_nothing_and_the_order_is_that_of_the_cosines(seed: int, scale: float) -> None:
    vectors, concepts = unit(4, seed=seed), unit(6, seed=seed + 1)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        places, said = nearest(vectors, concepts, scale, 0, False, 6)
    cosines = np.take_along_axis(vectors @ concepts.T, places, 1)
    assert (np.diff(cosines, axis=1) <= 1e-6).all()
    assert (np.diff(said, axis=1) <= 1e-6).all()


def test_many_pictures_are_compared_in_pieces_in_their_order() -> None:
    vectors, concepts = unit(ROWS + 3), unit(4, seed=1)
    places, said = nearest(vectors, concepts, 50, 0, False, 2)
    tail = nearest(vectors[-3:], concepts, 50, 0, False, 2)
    np.testing.assert_array_equal(places[-3:], tail[0])
    np.testing.assert_allclose(said[-3:], tail[1], atol=1e-5)
