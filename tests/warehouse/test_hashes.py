"""Hashes of turned pictures are told from the hashes alone, nearly as if the picture had been turned."""

from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from actors.pictures.hashes import Grey, hashes
from warehouse.hashes import TURNS, Turn, apart_bits, pdq_words, turned_bits, turned_pdq

WORD = st.integers(0, (1 << 64) - 1)


def picture() -> Grey:
    """Shapes of no symmetry, with edges at every scale."""
    noise = np.random.default_rng(4).integers(0, 256, (9, 12), np.uint8)
    drawn: Grey = cv2.resize(noise, (512, 384), interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    return drawn


def turned(grey: Grey, turn: Turn) -> Grey:
    transposed, mirrored, flipped = turn
    grey = grey.T if transposed else grey
    grey = grey[:, ::-1] if mirrored else grey
    return np.ascontiguousarray(grey[::-1] if flipped else grey)


def words(value: int | None) -> NDArray[np.uint64]:
    return np.array([value or 0], np.int64).view(np.uint64)


@pytest.mark.parametrize("turn", TURNS)
def test_the_hashes_of_a_turned_picture_follow_from_its_hashes(turn: Turn) -> None:
    before, after = hashes(picture()), hashes(turned(picture(), turn))
    assert apart_bits(turned_pdq(pdq_words([before.pdq or ""]), turn), pdq_words([after.pdq or ""]))[0] <= 48
    for name, was, is_ in (("phash", before.phash, after.phash), ("dhash", before.dhash, after.dhash)):
        told = turned_bits(name, words(was), turn)
        if told is None:
            assert (name, turn[0]) == ("dhash", True)
        else:
            assert apart_bits(told[:, None], words(is_)[:, None])[0] <= 6


@given(value=st.tuples(WORD, WORD, WORD, WORD), other=st.tuples(WORD, WORD, WORD, WORD))
def test_turning_keeps_distances_and_every_turn_has_one_that_undoes_it(
    value: tuple[int, ...], other: tuple[int, ...]
) -> None:
    one, two = np.array([value], np.uint64), np.array([other], np.uint64)
    for turn in TURNS:
        assert apart_bits(turned_pdq(one, turn), turned_pdq(two, turn)) == apart_bits(one, two)
        assert any((turned_pdq(turned_pdq(one, turn), back) == one).all() for back in TURNS)
    both = {tuple(turned_pdq(turned_pdq(one, a), b)[0].tolist()) for a, b in product(TURNS, TURNS)}
    assert both == {tuple(turned_pdq(one, turn)[0].tolist()) for turn in TURNS}
