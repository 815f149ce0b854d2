"""Who stands for whom: the best of what is near, whatever the order, and chains join nothing that differs."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse.groups import REACH, Member, Reach, Standing, stand

BITS = 8
NEAR = Reach(BITS)


def member(image_id: int, bits: int, area: int = 1, clicks: int = 0, root: int | None = None) -> Member:
    return Member(image_id, f"{bits:064x}", area, clicks, root)


def survivors(told: list[Standing]) -> dict[int, int]:
    return {one.image_id: one.survivor for one in told}


# few distinct bits, so that chains and ties are common
MEMBERS = st.lists(
    st.tuples(st.integers(0, (1 << 30) - 1), st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=14
)


@settings(max_examples=200, deadline=None)
@given(drawn=MEMBERS, order=st.randoms(use_true_random=False), stay=st.booleans())
def test_groups_do_not_depend_on_the_order_of_input_and_are_bounded(
    drawn: list[tuple[int, int, int]], order: random.Random, stay: bool
) -> None:
    members = [member(n, *values, root=n if n % 4 == 1 else None) for n, values in enumerate(drawn)]
    told = stand(members, NEAR, stay=stay)
    shuffled = order.sample(members, len(members))
    assert sorted(stand(shuffled, NEAR, stay=stay), key=lambda one: one.image_id) == sorted(
        told, key=lambda one: one.image_id
    )
    by_id, stands = {one.image_id: one for one in members}, survivors(told)
    assert stands.keys() == by_id.keys()
    assert all(stands[one] == one for one in stands.values())
    for one in told:
        apart = int(by_id[one.image_id].pdq or "", 16) ^ int(by_id[one.survivor].pdq or "", 16)
        assert apart.bit_count() <= REACH * BITS
        assert one.distance == (apart.bit_count() if one.image_id != one.survivor else None)


def test_the_survivor_is_the_largest_then_the_most_clicked_then_the_smallest_id() -> None:
    facts = [(1, 9), (2, 1), (2, 3), (2, 3)]
    told = stand([member(n, 0, area, clicks) for n, (area, clicks) in enumerate(facts)], NEAR, stay=False)
    assert set(survivors(told).values()) == {2}


def test_a_chain_of_small_steps_joins_no_pictures_that_differ() -> None:
    steps = [member(n, (1 << n * 8) - 1, area=9 - n) for n in range(5)]  # each 8 bits from the next, the ends 32 apart
    assert survivors(stand(steps, NEAR, stay=False)) == {0: 0, 1: 0, 2: 2, 3: 2, 4: 4}


def test_a_better_copy_takes_the_place_of_what_stood_and_says_so() -> None:
    told = stand([member(7, 0, area=1, root=7), member(8, 1, area=1, root=7), member(9, 3, area=5)], NEAR, stay=False)
    assert survivors(told) == {7: 9, 8: 9, 9: 9}
    assert {one.note for one in told} == {"image 9 takes the place of 7"}


def test_what_was_published_stays_where_the_recipe_says_so() -> None:
    told = stand([member(7, 0, area=1, root=7), member(8, 1, area=1, root=7), member(9, 3, area=5)], NEAR, stay=True)
    assert survivors(told) == {7: 7, 8: 7, 9: 7}
    assert {one.note for one in told} == {"image 7 stays, though image 9 is better"}


def test_pictures_alike_by_their_vectors_are_one_without_hashes() -> None:
    def alike(image_id: int, angle: float) -> Member:
        return Member(image_id, None, 10 - image_id, 0, None, [float(np.cos(angle)), float(np.sin(angle))])

    told = stand([alike(1, 0.0), alike(2, 0.2), alike(3, 1.2)], Reach(BITS, join=0.95), stay=False)
    assert survivors(told) == {1: 1, 2: 1, 3: 3}
    assert [(one.rule, round(one.similarity or 0, 2)) for one in told if one.image_id == 2] == [("embedding", 0.98)]
