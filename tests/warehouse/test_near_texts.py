"""Long texts that are one but for a detail are one group, whatever the order of the rows, and no others are."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Sequence
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.shingles import GRAM as HASHED_GRAM
from filters.shingles import band_hashes, banding
from warehouse.ids import content_id
from warehouse.lake import connect
from warehouse.near_texts import GRAM, Near, group_texts

if TYPE_CHECKING:
    from conftest import World

NEAR = Near(0.8)
SHOP = "Buy this beautiful picture, number {} in our shop, with free shipping and returns within seven days"
PIECES = (
    "an old wooden boat lies on the shore of a quiet lake",
    "a brown dog runs over the green lawn behind the house",
    "两个孩子在公园的草地上放风筝，远处可以看见高楼和蓝天白云，一位老人坐在长椅上看报纸",
    " 1047",
    " 1048",
    " today",
)


def _groups(world: World, texts: Sequence[str], near: Near | None = NEAR) -> dict[str, str]:
    """Each text that is near another, and the text that stands for its group."""
    norms = {content_id(text.encode()): text for text in texts}
    norm = pa.array(texts, pa.string())
    table = pa.table(
        {
            "text_id": pa.array([content_id(text.encode()) for text in texts], pa.int64()),
            "norm": norm,
            "bands": band_hashes(norm, 60, banding(NEAR.similarity)),
        }
    )
    with connect(world.warehouse) as con:
        con.register("texts_in", table)
        group_texts(con, near)
        rows = con.execute("SELECT text_id, text_group FROM text_groups").fetchall()
    assert len(rows) == len(dict(rows))
    return {norms[one]: norms[other] for one, other in rows}


def _similarity(one: str, other: str) -> float:
    grams, others = _grams(one), _grams(other)
    return len(grams & others) / len(grams | others)


@cache
def _grams(text: str) -> frozenset[str]:
    return frozenset(text[n : n + GRAM] for n in range(len(text) - GRAM + 1))


def _read(name: str) -> dict[str, list[str]]:
    """Real captions of one language by picture."""
    folder = os.environ.get("ZEROMILL_TEST_DATA")
    if folder is None:
        pytest.skip("ZEROMILL_TEST_DATA names no folder with real texts")
    said: dict[str, list[str]] = {}
    with gzip.open(Path(folder) / "data" / "text" / name, "rt") as file:
        for line in file:
            image, _, text = line.rstrip("\n").split("\t")
            said.setdefault(image, []).append(text)
    return said


def _planted(captions: dict[str, list[str]], chance: random.Random, space: str) -> list[tuple[str, str]]:
    """Long texts, each with a copy of one kind: a changed number, a swapped word, an appended shop's name."""
    pairs = []
    for place in range(200):
        said = [text for image in chance.sample(sorted(captions), 2) for text in captions[image]]
        text = space.join([f"{chance.randrange(100, 1000)}", *said])
        at = len(text) // 2
        word = chance.choice(captions[chance.choice(sorted(captions))])[:4]
        copies = (
            f"{chance.randrange(100, 1000)}{text[3:]}",
            f"{text[:at]}{word}{text[at + len(word) :]}",
            f"{text}{space}{'官方旗舰店' if not space else 'at Miller & Sons'}",
        )
        pairs.append((text, copies[place % 3]))
    return pairs


@pytest.mark.parametrize(("name", "space"), [("flickr8k_en_human.tsv.gz", " "), ("flickr8k_zh_human.tsv.gz", "")])
def test_planted_copies_of_real_texts_are_found_and_nothing_else(bare: World, name: str, space: str) -> None:
    pairs = _planted(_read(name), random.Random(3), space)
    texts = sorted({text for pair in pairs for text in pair})
    groups = _groups(bare, texts)
    true = {pair for pair in combinations(texts, 2) if _similarity(*pair) >= 0.8}
    assert len(true) >= 190
    found = {pair for pair in true if pair[0] in groups and groups[pair[0]] == groups.get(pair[1])}
    assert len(found) >= 0.99 * len(true)
    joined = {pair for pair in combinations(sorted(groups), 2) if groups[pair[0]] == groups[pair[1]]}
    assert joined <= true, "no two of different texts are one"


@settings(max_examples=25, deadline=None)
@given(
    said=st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join), min_size=1, max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_groups_do_not_depend_on_the_order_of_rows_nor_on_how_often_a_text_stands_there(
    bare: World, said: list[str], order: random.Random
) -> None:
    groups = _groups(bare, said)
    again = said + order.choices(said, k=len(said))
    order.shuffle(again)
    assert _groups(bare, again) == groups
    for text, first in groups.items():
        assert groups[first] == first
        assert _similarity(text, first) >= NEAR.similarity
    stand = {groups.get(text, text) for text in said if len(text) >= 60}
    apart = [pair for pair in combinations(sorted(stand), 2) if _similarity(*pair) >= 0.9]
    assert apart == [], "two that stand for groups are not near each other"


def test_a_chain_of_small_changes_does_not_join_texts_that_differ(bare: World) -> None:
    line = " ".join(f"{n * n}th" for n in range(40))
    chain = [f"{'and so on ' * turn}{line}"[:170] for turn in range(15)]
    assert all(_similarity(*pair) >= 0.8 for pair in pairwise(chain))
    groups = _groups(bare, chain)
    assert len(set(groups.values())) > 1
    assert all(_similarity(text, first) >= 0.8 for text, first in groups.items())


def test_thousands_of_texts_in_one_bucket_are_compared_with_one_of_them(bare: World) -> None:
    before = process_time()
    groups = _groups(bare, [SHOP.format(n) for n in range(4000)])
    assert len(groups) == 4000
    assert len(set(groups.values())) == 1
    assert process_time() - before < 20, "eight million comparisons take minutes"


def test_near_copies_are_found_among_texts_that_have_a_shop_s_words_in_common(bare: World) -> None:
    """Half of each is the same: buckets of the common words are worn out before all texts of them are compared."""
    captions = [text for said in _read("flickr8k_en_human.tsv.gz").values() for text in said if len(text) > 60][:1000]
    shop = " . Free shipping and seven days of returns from the official flagship store"
    texts = [caption + shop for caption in captions]
    copies = {f"{text[:20]}#{text[21:]}": text for text in texts[:300]}
    groups = _groups(bare, [*texts, *copies])
    found = [copy for copy, text in copies.items() if copy in groups and groups[copy] == groups.get(text)]
    assert len(found) >= 0.99 * len(copies)
    assert all(_similarity(text, first) >= 0.8 for text, first in groups.items())


def test_short_texts_and_all_without_a_bound_stand_for_themselves(bare: World) -> None:
    said = ["a red cat number 1", "a red cat number 2"]
    assert _groups(bare, said) == {}
    assert _groups(bare, [SHOP.format(n) for n in range(3)], near=None) == {}


def test_what_is_hashed_is_what_is_compared() -> None:
    assert GRAM == HASHED_GRAM
