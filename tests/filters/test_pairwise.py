"""What policies measure: tiny cases worked by hand or by the references' rules, in any order of the pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from filters.pairwise.balance import STAYS, Matches, balanced, bound_of_tail, chances, counted, tail_share
from filters.pairwise.entries import Entries
from filters.pairwise.mixing import drawn, mixed, shuffled_parts
from filters.pairwise.mutual import mutual_top1, tops
from filters.pairwise.nearness import normsim
from filters.pairwise.negative import in_batch, negative_loss, of_cosines
from filters.pairwise.pool import Pool

Floats = NDArray[np.float32]


def _unit(count: int, width: int, seed: int) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _pool(pairs: int, seed: int = 0, width: int = 16) -> Pool:
    """Pairs of which some share a picture and some a text."""
    rng = np.random.default_rng(seed)
    pictures, texts = _unit(max(2, pairs * 2 // 3), width, seed + 1), _unit(max(2, pairs * 3 // 4), width, seed + 2)
    both = {(int(rng.integers(len(pictures))), int(rng.integers(len(texts)))) for _ in range(3 * pairs)}
    rows = np.array(sorted(both)[:pairs])
    ids = rng.permutation(1 << 20)[: len(pictures) + len(texts)].astype(np.int64)
    return Pool(
        ids[rows[:, 0]], ids[len(pictures) + rows[:, 1]], pictures, rows[:, 0], texts, rows[:, 1]
    )  # fmt: skip


def _reordered(pool: Pool, order: NDArray[np.int64]) -> Pool:
    return Pool(
        pool.images[order],
        pool.text_ids[order],
        pool.pictures,
        pool.picture_rows[order],
        pool.texts,
        pool.text_rows[order],
    )


def test_numbers_are_mixed_as_splitmix64_mixes_them() -> None:
    # the first outputs of the generator from state 0, by its authors' C code (prng.di.unimi.it/splitmix64.c)
    zero = np.zeros(1, np.int64)
    assert int(mixed(0, zero)[0]) == 0xE220A8397B1DCDAF
    assert int(mixed(0x9E3779B97F4A7C15, zero)[0]) == 0x6E789E6AA1B965F4


def test_drawn_numbers_are_even_and_differ_by_seed_and_by_each_id() -> None:
    images, texts = np.arange(20_000, dtype=np.int64), np.full(20_000, 7, np.int64)
    one = drawn(1, images, texts)
    assert one.min() >= 0
    assert one.max() < 1
    assert np.abs(np.histogram(one, 10)[0] / 2000 - 1).max() < 0.1
    for other in (drawn(2, images, texts), drawn(1, images, texts + 1), drawn(1, texts, images)):
        assert (one != other).mean() > 0.999


@given(pairs=st.integers(1, 400), most=st.integers(1, 130), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_parts_hold_every_pair_once_and_are_of_one_size(pairs: int, most: int, seed: int) -> None:
    ids = np.arange(pairs, dtype=np.int64)
    parts = shuffled_parts(seed, ids, ids, most)
    assert sorted(np.concatenate(parts).tolist()) == ids.tolist()
    sizes = [len(part) for part in parts]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1


def test_a_pair_is_top_in_either_direction() -> None:
    cosines = np.array(
        [
            [0.9, 0.1, 0.2],  # best text of its picture and best picture of its text
            [0.5, 0.4, 0.3],  # its picture has a better text, and its text has no better picture
            [0.1, 0.2, 0.3],  # its picture has no better text, and its text has a picture as near
        ],
        np.float32,
    )
    assert tops(cosines).tolist() == [3, 2, 3]
    assert tops(np.array([[0.2, 0.5], [0.4, 0.3]], np.float32)).tolist() == [0, 0]
    assert tops(np.array([[0.3, 0.2], [0.4, 0.5]], np.float32)).tolist() == [1, 3]


def test_one_group_of_all_pairs_is_taisus_rule_over_the_whole_matrix() -> None:
    pool = _pool(40, width=4)
    cosines = pool.pictures[pool.picture_rows].astype(float) @ pool.texts[pool.text_rows].T.astype(float)
    by_hand = [
        (cosines[i, i] >= cosines[i].max() - 1e-6) + 2 * (cosines[i, i] >= cosines[:, i].max() - 1e-6)
        for i in range(40)
    ]
    assert mutual_top1(pool, 40, 0).tolist() == by_hand
    assert {0, 1, 2, 3} == set(by_hand)


def test_negcliploss_is_that_of_the_paper() -> None:
    # two pairs, T = 0.01, worked with 50 digits
    cosines = np.array([[0.30, 0.28], [0.10, 0.25]], np.float32)
    values = of_cosines(iter([(0, cosines)]), 2, 0.01)
    assert values == pytest.approx([-0.000635, -0.015243], abs=2e-6)


def test_a_pair_alone_in_its_batch_has_nothing_to_lose_by() -> None:
    vectors = _unit(1, 8, 0)
    assert in_batch(vectors, vectors, 0.01) == pytest.approx([0], abs=1e-6)


@pytest.mark.parametrize("temperature", [0.002, 0.01, 0.07, 1.0])
def test_negcliploss_over_many_blocks_is_the_formula_in_double_precision(temperature: float) -> None:
    pictures, texts = _unit(2500, 8, 1), _unit(2500, 8, 2)  # cosines from -1 to 1: far more than CLIP's
    cosines = pictures.astype(float) @ texts.T.astype(float)
    shifted = np.exp((cosines - 1) / temperature)
    with np.errstate(divide="ignore"):
        sums = [1 / temperature + np.log(shifted.sum(axis)) for axis in (0, 1)]
    wanted = np.diag(cosines) - temperature / 2 * (sums[0] + sums[1])
    sound = np.isfinite(wanted)
    assert sound.mean() > 0.9
    assert in_batch(pictures, texts, temperature)[sound] == pytest.approx(wanted[sound], abs=3e-6)


def test_rounds_are_averaged_and_drawn_one_by_one() -> None:
    pool = _pool(50)
    alone = [negative_loss(pool, 0.01, 10, 1, seed) for seed in (5, 6, 7)]
    assert not np.array_equal(alone[0], alone[1])
    assert negative_loss(pool, 0.01, 10, 3, 5) == pytest.approx(np.mean(alone, axis=0), abs=1e-6)


def test_normsim_is_the_norm_of_the_cosines_with_the_target() -> None:
    pictures, target = np.eye(3, dtype=np.float32), np.array([[0.6, 0.8, 0], [-1, 0, 0]], np.float32)
    # cosines: (0.6, -1), (0.8, 0), (0, 0)
    assert normsim(pictures, target, "inf").tolist() == pytest.approx([0.6, 0.8, 0])
    assert normsim(pictures, target, 2).tolist() == pytest.approx([np.hypot(0.6, 1), 0.8, 0])


def test_normsim_over_many_blocks_is_the_formula() -> None:
    pictures, target = _unit(5000, 4, 1), _unit(20_000, 4, 2)
    cosines = pictures @ target.T
    assert normsim(pictures, target, "inf") == pytest.approx(cosines.max(1), abs=1e-6)
    assert normsim(pictures, target, 2) == pytest.approx(np.linalg.norm(cosines, axis=1), rel=1e-4)


ENTRIES = Entries.read("dog\nred car\n猫\n红色汽车\ndog\n\niPhone 手机\nst.\n汽車\n")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a dog, asleep", ["dog"]),
        ("a hotdog", []),
        ("dogs", []),
        ("A Dog", []),
        ("dog", ["dog"]),
        ("a red car", ["red car"]),
        ("a red  car", []),
        ("红色汽车和猫", ["猫", "红色汽车", "汽车"]),
        ("新iPhone 手机壳", []),
        ("新 iPhone 手机壳", ["iPhone 手机"]),
        ("", []),
    ],
)
def test_words_are_matched_whole_and_unspaced_scripts_as_sub_strings(text: str, names: list[str]) -> None:
    assert [ENTRIES.names[place] for place in ENTRIES.found(text)] == names


def test_entries_are_distinct_and_simplified() -> None:
    assert ENTRIES.names == ("dog", "red car", "猫", "红色汽车", "iPhone 手机", "st.", "汽车")
    assert ENTRIES.unspaced == (False, False, True, True, True, False, True)


@given(names=st.lists(st.text("ab 猫狗", min_size=1, max_size=4), max_size=6), text=st.text("ab 猫狗,.", max_size=30))
@settings(max_examples=200, deadline=None)
def test_matching_is_what_a_search_for_each_entry_finds(names: list[str], text: str) -> None:
    entries = Entries.read("\n".join(names))
    spaced = f" {text.replace(',', ' , ').replace('.', ' . ')} "
    free = "猫狗,."
    wanted = [
        place
        for place, name in enumerate(entries.names)
        if ("" if name[0] in free else " ") + name + ("" if name[-1] in free else " ") in spaced
    ]
    assert entries.found(text) == wanted


def test_an_entry_keeps_the_share_that_metaclip_gives_it() -> None:
    counts = np.array([1_000_000, 15_000], np.int64)
    assert chances(counts, np.array([False, False]), 20_000, None).tolist() == [0.02, 1.0]


def test_the_bound_of_chinese_entries_has_the_tail_share_of_the_others() -> None:
    english, chinese = np.array([1, 2, 3, 94], np.int64), np.array([1, 1, 4, 4], np.int64)
    assert tail_share(english, 20) == 0.06
    # shares of the sorted counts, cumulated: 0.1, 0.2, 0.6, 1; the nearest to 0.06 is that of the first
    assert bound_of_tail(chinese, tail_share(english, 20)) == 1
    assert bound_of_tail(chinese, 0.5) == 4
    both, unspaced = np.concatenate([english, chinese]), np.array([False] * 4 + [True] * 4)
    assert chances(both, unspaced, 20, None).tolist() == [1, 1, 1, 20 / 94, 1, 1, 0.25, 0.25]
    assert chances(both, unspaced, 20, 2).tolist() == [1, 1, 1, 20 / 94, 1, 1, 0.5, 0.5]


def _balance(ids: NDArray[np.int64], seed: int = 0) -> Floats:
    """Of each pair i the entry `head`, and of every hundredth `tail` too; every seventh names nothing."""
    places = np.flatnonzero(ids % 7 != 0)
    rare = np.flatnonzero((ids % 100 == 1) & (ids % 7 != 0))
    matches = Matches(np.concatenate([places, rare]), np.repeat([0, 1], [len(places), len(rare)]))
    chance = chances(counted(matches, 2), np.array([False, False]), 1000, None)
    return balanced((ids, ids), matches, ("head", "tail"), chance, seed)


def test_frequent_entries_keep_their_bound_and_rare_ones_all() -> None:
    ids = np.arange(20_000, dtype=np.int64)
    kept = _balance(ids) >= STAYS
    assert not kept[ids % 7 == 0].any()
    assert kept[(ids % 100 == 1) & (ids % 7 != 0)].all()
    assert kept.sum() == pytest.approx(1000 + 171, rel=0.1)
    assert 0.5 < (kept & (_balance(ids, 1) >= STAYS)).sum() / 171 < 2  # of another seed only the rare are the same


@given(pairs=st.integers(2, 150), seed=st.integers(0, 9), data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_pairs_changes_no_value(pairs: int, seed: int, data: st.DataObject) -> None:
    pool = _pool(pairs, seed)
    order = np.array(data.draw(st.permutations(range(len(pool.images)))), np.int64)
    other = _reordered(pool, order)
    assert np.array_equal(mutual_top1(pool, 12, seed)[order], mutual_top1(other, 12, seed))
    assert np.array_equal(negative_loss(pool, 0.01, 40, 2, seed)[order], negative_loss(other, 0.01, 40, 2, seed))
    assert np.array_equal(_balance(pool.images, seed)[order], _balance(other.images, seed))
