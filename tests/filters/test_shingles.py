"""Long texts that share most of their 5-grams share a band, as often as theory says, whatever stands beside them."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.shingles import GRAM, MISSED, band_hashes, banding

ENGLISH = "cc3m_validation.tsv.gz"
TEXTS = st.lists(st.none() | st.text(max_size=60) | st.text("ab", max_size=60), max_size=12)


def _similarity(one: str, other: str) -> float:
    grams = [{text[n : n + GRAM] for n in range(len(text) - GRAM + 1)} for text in (one, other)]
    return len(grams[0] & grams[1]) / len(grams[0] | grams[1])


def _hashes(texts: list[str | None], characters: int = 20, similarity: float = 0.8) -> list[list[int] | None]:
    found: list[list[int] | None] = band_hashes(
        pa.array(texts, pa.string()), characters, banding(similarity)
    ).to_pylist()
    return found


@settings(deadline=None)
@given(texts=TEXTS, order=st.randoms(use_true_random=False))
def test_the_hashes_of_a_text_are_its_own_whatever_stands_beside_it(
    texts: list[str | None], order: random.Random
) -> None:
    together = _hashes(texts)
    assert together == [_hashes([text])[0] for text in texts]
    places = list(range(len(texts)))
    order.shuffle(places)
    assert _hashes([texts[n] for n in places]) == [together[n] for n in places]
    assert [one is None for one in together] == [text is None or len(text) < 20 for text in texts]


def test_hashes_are_those_of_every_machine_and_of_blocks_that_many_texts_need() -> None:
    text = "一只棕色的狗在草地上奔跑，远处有两个孩子在放风筝 a brown dog runs on the lawn"
    many: list[str | None] = [f"{text} {n} {'long ' * 200}" for n in range(200)]  # more than a block of 5-grams
    assert _hashes([*many, text])[-1] == _hashes([text])[0]
    assert (_hashes([text], similarity=0.9)[0] or [])[:2] == [-928399035463035882, 8072736324053443406]


def test_a_text_is_long_by_its_characters_not_by_its_bytes() -> None:
    assert [one is None for one in _hashes(["图" * 59, "图" * 60, "é" * 59, "a" * 60], 60)] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0])
def test_bands_miss_next_to_no_pair_at_the_bound_and_are_as_long_as_may_be(similarity: float) -> None:
    bands, rows = banding(similarity)
    assert (1 - similarity**rows) ** bands <= MISSED
    assert (1 - similarity ** (rows + 1)) ** (128 // (rows + 1)) > MISSED or rows == 128


def test_real_texts_share_a_band_as_often_as_theory_says() -> None:
    """Captions with some words of others: the chance of a common band is that of the S-curve of their similarity."""
    given_data = os.environ.get("ZEROMILL_TEST_DATA")
    if given_data is None:
        pytest.skip("ZEROMILL_TEST_DATA names no folder with real texts")
    with gzip.open(Path(given_data) / "data" / "text" / ENGLISH, "rt") as file:
        captions = [line.rstrip("\n").split("\t")[1] for line in file]
    chance = random.Random(5)
    texts = [text for text in captions if len(text) >= 60]
    changed = [_changed(text, texts, chance) for text in texts]
    bands, rows = banding(0.8)
    one, other = (np.array(_hashes(list(side), 5)) for side in (texts, changed))
    found = (one == other).any(axis=1)
    similar = np.array([_similarity(*pair) for pair in zip(texts, changed, strict=True)])
    for low in (0.4, 0.5, 0.6, 0.7):
        some = (similar >= low) & (similar < low + 0.1)
        expected = 1 - (1 - similar[some] ** rows) ** bands
        assert some.sum() > 100
        spread = (expected * (1 - expected)).sum() ** 0.5 / some.sum()
        assert found[some].mean() == pytest.approx(expected.mean(), abs=4 * spread)
    near = similar >= 0.8
    assert near.sum() > 300
    assert found[near].mean() >= 0.995


def _changed(text: str, others: list[str], chance: random.Random) -> str:
    words = text.split(" ")
    for _ in range(chance.choice((1, 1, 2, 2, 3))):
        words[chance.randrange(len(words))] = chance.choice(chance.choice(others).split(" "))
    return " ".join(words)
