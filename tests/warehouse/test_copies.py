"""Which pictures are one: found without a miss, grouped whatever the order, and history stays as it was published."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.copies import Join, Seen, group, hamming
from warehouse.lake import connect

if TYPE_CHECKING:
    from conftest import Shot, World

BITS = 8


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _near(hashes: list[tuple[int, int]], others: list[tuple[int, int]], bits: int = BITS) -> list[tuple[int, int]]:
    return [(a, b) for a, one in hashes for b, other in others if a != b and hamming(one, other) <= bits]


def _flipped(value: int, bits: int, random_: random.Random) -> int:
    for bit in random_.sample(range(64), bits):
        value ^= 1 << bit
    return value


# few distinct bits, so that chains and ties are common
NARROW = st.integers(0, (1 << 14) - 1)
PICTURES = st.lists(
    st.tuples(NARROW, st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=14, unique_by=lambda one: one[0]
)


@settings(max_examples=200, deadline=None)
@given(pictures=PICTURES, roots=st.lists(NARROW, max_size=3, unique=True), order=st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_input(
    pictures: list[tuple[int, int, int]], roots: list[int], order: random.Random
) -> None:
    bits = 2
    unseen = [Seen(n, phash, area, clicks) for n, (phash, area, clicks) in enumerate(pictures)]
    known = {100 + n: phash for n, phash in enumerate(roots)}
    hashes = [(one.image_id, one.phash) for one in unseen]
    edges = [
        (a, b) for a, one in hashes for b, other in [*hashes, *known.items()] if a != b and hamming(one, other) <= bits
    ]
    joins = group(unseen, known, edges, bits)
    order.shuffle(unseen)
    order.shuffle(edges)
    assert group(unseen, known, edges, bits) == joins
    _holds(joins, {**dict(hashes), **known}, set(known), bits)


def _holds(joins: list[Join], hashes: dict[int, int], known: set[int], bits: int) -> None:
    """Every picture has one survivor, which stands for itself or was known, at most twice `bits` away."""
    survivors = {join.survivor for join in joins}
    by_id = {join.image_id: join for join in joins}
    assert len(by_id) == len(joins)
    assert all(one in known or by_id[one].survivor == one for one in survivors)
    assert all(join.distance == hamming(hashes[join.image_id], hashes[join.survivor]) for join in joins)
    assert all(join.distance <= 2 * bits for join in joins)


def test_a_chain_of_small_steps_joins_no_pictures_that_differ() -> None:
    steps = [(1 << n * 8) - 1 for n in range(8)]  # each 8 bits from the next, the ends 56 apart
    unseen = [Seen(n, phash, area=1, clicks=0) for n, phash in enumerate(steps)]
    edges = _near(list(enumerate(steps)), list(enumerate(steps)))
    joins = group(unseen, {}, edges, BITS)
    assert {join.image_id: join.survivor for join in joins} == {0: 0, 1: 0, 2: 0, 3: 3, 4: 3, 5: 3, 6: 6, 7: 6}


def test_the_survivor_is_the_largest_then_the_most_clicked_then_the_smallest_id() -> None:
    edges = [(a, b) for a in range(4) for b in range(4) if a != b]
    pictures = [(1, 9), (2, 1), (2, 3), (2, 3)]
    joins = group([Seen(n, 0, area, clicks) for n, (area, clicks) in enumerate(pictures)], {}, edges, BITS)
    assert {join.survivor for join in joins} == {2}


def test_what_history_kept_stands_for_its_copies_however_large_they_are() -> None:
    joins = group([Seen(1, 0b11, area=999, clicks=9), Seen(2, 0b1, area=1, clicks=0)], {7: 0}, [(1, 7), (1, 2)], BITS)
    assert [(join.survivor, join.distance) for join in joins] == [(7, 2), (7, 1)]


def test_every_near_pair_of_two_thousand_pictures_is_found_and_no_other(bare: World) -> None:
    chance = random.Random(3)
    base = [chance.getrandbits(64) for _ in range(1500)]
    planted = [_flipped(chance.choice(base), n % 10 + 1, chance) for n in range(480)]
    # the hardest at 8 bits: every band of 16 differs in two
    planted += [value ^ sum(0b101 << 16 * band + n % 13 for band in range(4)) for n, value in enumerate(base[:20])]
    hashes = list(enumerate([_signed(value) for value in base + planted]))
    assert min(value for _, value in hashes) < 0
    shots = {f"http://a.example/{n}": bare.shot(f"picture {n}", phash=value) for n, value in hashes}
    joined = bare.join(dict(shots))
    named = [(shot.image_id, shot.phash) for shot in shots.values()]
    unseen = [Seen(image_id, phash, 300 * 300, 0) for image_id, phash in named]
    expected = group(unseen, {}, _near(named, named), BITS)
    assert sum(join.distance > 0 for join in expected) > 350
    assert {one: (row["survivor"], row["distance"]) for one, row in joined.items()} == {
        join.image_id: (join.survivor, join.distance) for join in expected
    }
    assert {row["rule"] for row in joined.values()} == {None, "phash"}


@pytest.mark.parametrize("bits", [0, 3, 8, 11])
def test_a_picture_is_joined_at_its_distance_and_not_beyond(bare: World, bits: int) -> None:
    chance = random.Random(bits)
    value = chance.getrandbits(64)
    near, far = (_signed(_flipped(value, flipped, chance)) for flipped in (bits, bits + 1))
    for other, together in ((near, 1), (far, 2)):
        shots = {f"http://a.example/{n}": bare.shot(f"{n}", phash=one) for n, one in enumerate((_signed(value), other))}
        joined = bare.join(dict(shots), bits)
        assert len({row["survivor"] for row in joined.values()}) == together


def test_flat_pictures_and_those_without_a_hash_are_joined_only_by_their_bytes(bare: World) -> None:
    flat = [bare.shot(f"flat {n}", phash=0, std=1.9) for n in range(2)]
    mute = [bare.shot(f"mute {n}", phash=None) for n in range(2)]
    shots = {f"http://a.example/{n}": shot for n, shot in enumerate([*flat, *mute, flat[0]])}
    joined = bare.join(dict(shots))
    assert len(joined) == 4
    assert all(row["survivor"] == one for one, row in joined.items())


def test_equal_bytes_at_many_urls_are_one_picture_even_without_hashes(bare: World) -> None:
    shot = bare.shot("the same", phash=5)
    joined = bare.join({"http://a.example/1": shot, "http://b.example/2": shot, "http://a.example/3": None}, bits=None)
    assert list(joined) == [shot.image_id]


def _protect(world: World, shot: Shot, *, hashed: bool = True) -> None:
    with connect(world.warehouse) as con:
        con.execute(
            "INSERT INTO lake.protected BY NAME SELECT 'coco' AS name, $1 AS sha256, $2::BIGINT AS phash",
            ["0" * 64 if hashed else shot.sha256, shot.phash if hashed else None],
        )


def test_a_protected_picture_is_removed_with_all_that_it_would_stand_for(world: World) -> None:
    exact, near = world.shot("exact", phash=-1), world.shot("near", phash=0b111)
    _protect(world, exact, hashed=False)
    _protect(world, near)
    flat = world.shot("flat", phash=0b111, std=0.5)
    other = world.shot("other", phash=0x00FF00FF00FF0000)
    # 9 bits from the protected one and thus none of it, but joined to a picture that is
    copy = world.shot("copy", phash=0b111 ^ 0b111111111000, width=10)
    survivor = world.shot("survivor", phash=0b111 ^ 0b11000)
    joined = world.join(
        {f"http://a.example/{n}": shot for n, shot in enumerate((exact, flat, other, copy, survivor))}, bits=BITS
    )
    assert joined[copy.image_id]["survivor"] == survivor.image_id
    removed = {one for one, row in joined.items() if row["reason"] == "benchmark_overlap"}
    assert removed == {exact.image_id, copy.image_id, survivor.image_id}
    assert joined[exact.image_id]["detail"] == "in the protected set coco"


def test_a_set_that_is_protected_later_removes_what_history_stands_for(world: World) -> None:
    old = world.shot("old", phash=1)
    first = world.mill(
        [{"candidate_id": 1, "url": "http://a.example/old", "texts": ["a cat"]}], {"http://a.example/old": old}
    )
    world.publish(first)
    _protect(world, old, hashed=False)
    joined = world.join({"http://a.example/new": world.shot("new", phash=0b111)})
    assert [(row["survivor"], row["reason"]) for row in joined.values()] == [(old.image_id, "benchmark_overlap")]
