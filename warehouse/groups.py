"""Who stands for whom among pictures that hang together: the best of them, for what is near enough to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse.hashes import TURNS, apart_bits, pdq_words, turned_pdq

Ints = NDArray[np.int64]

REACH = 1.25
"""How much farther than two copies a picture may be from the one that stands for it.

Copies of one photo differ from each other by more than from the photo: at 64 bits the bound is 80, under the 88 of the
nearest of 803 different photos.
"""


NO_PDQ = "0" * 64


@dataclass(frozen=True)
class Member:
    """A picture of a component: its PDQ, area and clicks, and who stands for it so far (null: it is new)."""

    image_id: int
    pdq: str | None
    area: int
    clicks: int
    root: int | None
    vector: NDArray[np.float32] | None = None

    def order(self) -> tuple[int, int, int]:
        """The total order of survivors: largest, then most clicks, then smallest id."""
        return -self.area, -self.clicks, self.image_id


@dataclass(frozen=True)
class Standing:
    """A picture and the one that stands for it (itself, unless it is a copy), by which rule, and how near they are.

    `distance` counts bits of PDQ, `similarity` is a cosine; `note` says whose place the survivor takes, or who would.
    """

    image_id: int
    survivor: int
    rule: str | None
    distance: int | None
    similarity: float | None
    note: str | None


@dataclass(frozen=True)
class Reach:
    """How far copies may be apart: bits of PDQ, also of the `turned` picture, or a cosine that is above `join`.

    With `min_similarity` what is near by its bits must have at least that cosine too.
    """

    near_bits: int | None
    join: float | None = None
    turned: bool = False
    min_similarity: float | None = None


def stand(members: Sequence[Member], reach: Reach, *, stay: bool) -> list[Standing]:
    """Who stands for each of the pictures that hang together by steps that `reach` allows.

    The best takes all that REACH lets it, the best of those that are left the same, and so on: no chain of small steps
    joins pictures that differ, and the answer is that of the set of members, however it came together. With `stay`,
    who stands for pictures already goes on to.
    """
    ordered = _Ordered(sorted(members, key=Member.order), reach)
    survivors = np.full(len(members), -1)
    if stay:
        roots = {one.image_id: place for place, one in enumerate(ordered.members) if one.root == one.image_id}
        for place, one in enumerate(ordered.members):
            survivors[place] = -1 if one.root is None else roots.get(one.root, -1)
        for place in roots.values():
            survivors[ordered.within(place, np.flatnonzero(survivors < 0))] = place
    while len(left := np.flatnonzero(survivors < 0)):
        survivors[ordered.within(int(left[0]), left)] = left[0]
    return [one for survivor in np.unique(survivors) for one in ordered.told(survivor, survivors == survivor, stay)]


class _Ordered:
    """Members in the order of survivors, with their hashes and vectors as arrays."""

    def __init__(self, members: Sequence[Member], reach: Reach) -> None:
        self.members, self.reach = members, reach
        self.hashed = np.array([one.pdq is not None for one in members])
        self.words = pdq_words([one.pdq or NO_PDQ for one in members])
        width = max((len(one.vector) for one in members if one.vector is not None), default=0)
        nothing = np.zeros(width, np.float32)
        self.vectors = np.array([nothing if one.vector is None else one.vector for one in members], np.float32)

    def bits(self, survivor: int, places: Ints) -> Ints:
        """How many bits of each one's PDQ differ from the survivor's; 257 where there is nothing to compare."""
        turns = TURNS if self.reach.turned else TURNS[:1]
        forms = np.concatenate([turned_pdq(self.words[survivor : survivor + 1], turn) for turn in turns])
        apart = apart_bits(self.words[places][:, None], forms[None]).min(axis=1)
        told: Ints = np.where(self.hashed[places] & self.hashed[survivor], apart, 257).astype(np.int64)
        return told

    def cosines(self, survivor: int, places: Ints) -> NDArray[np.float32]:
        cosines: NDArray[np.float32] = self.vectors[places] @ self.vectors[survivor]
        return cosines

    def near(self, survivor: int, places: Ints, bits: Ints) -> NDArray[np.bool_]:
        """Whom the hashes let the survivor stand for, and the vectors where they are asked."""
        near: NDArray[np.bool_] = bits <= REACH * (self.reach.near_bits or 0)
        if self.reach.min_similarity is not None:
            near &= self.cosines(survivor, places) >= self.reach.min_similarity
        return near

    def within(self, survivor: int, places: Ints) -> Ints:
        """Those of the places that the survivor may stand for, its own among them."""
        near = places == survivor
        if self.reach.near_bits is not None:
            near |= self.near(survivor, places, self.bits(survivor, places))
        if self.reach.join is not None:
            near |= self.cosines(survivor, places) > 1 - REACH * (1 - self.reach.join)
        those: Ints = places[near]
        return those

    def told(self, survivor: int, group: NDArray[np.bool_], stay: bool) -> Iterator[Standing]:
        """A row for each of a group."""
        places = np.flatnonzero(group)
        note = self.note(survivor, places, stay)
        bits, cosines = self.bits(survivor, places), self.cosines(survivor, places)
        for place, apart, cosine in zip(places.tolist(), bits.tolist(), cosines.tolist(), strict=True):
            near = self.reach.near_bits is not None and apart <= REACH * self.reach.near_bits
            rule = None if place == survivor else "pdq" if near else "embedding"
            yield Standing(
                self.members[place].image_id,
                self.members[survivor].image_id,
                rule,
                apart if rule == "pdq" else None,
                cosine if rule == "embedding" else None,
                note,
            )

    def note(self, survivor: int, places: Ints, stay: bool) -> str | None:
        """Whose place the survivor takes, or who would take it; null where nothing was published before."""
        one, best = self.members[survivor], self.members[places[0]]
        if stay and best is not one:
            return f"image {one.image_id} stays, though image {best.image_id} is better"
        before = [self.members[place] for place in places]
        taken = [str(other.image_id) for other in before if other.root == other.image_id and other is not one]
        return f"image {one.image_id} takes the place of {', '.join(taken[:3])}" if taken else None
