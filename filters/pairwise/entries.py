"""Which entries of a list a text names, as MetaCLIP matches them: whole words, or sub-strings of unspaced scripts."""

from __future__ import annotations

import re
import string
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from filters.normalise import simplified

_UNSPACED = re.compile(
    "[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]"
)
_FREE = frozenset(string.punctuation + "，。、；：？！“”‘’（）【】《》〈〉「」『』～—")
_WRAPPED = str.maketrans({mark: f" {mark} " for mark in ",.;:?!`"} | {white: " " for white in "\t\n\r"})


@dataclass(frozen=True)
class Entries:
    """Distinct entries of a list, Chinese ones in simplified characters, in the order of their first."""

    names: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> Entries:
        """One entry a line; empty lines are none."""
        lines = (simplified(line.strip()) for line in text.splitlines())
        return cls(tuple(dict.fromkeys(line for line in lines if line)))

    @cached_property
    def unspaced(self) -> tuple[bool, ...]:
        """Whether each is of a script without spaces between words."""
        return tuple(_UNSPACED.search(name) is not None for name in self.names)

    def found(self, text: str) -> list[int]:
        """The places of the entries that the text names, in their order.

        MetaCLIP's metaclip/curation/substr_matching.py: marks are wrapped in spaces, and an entry needs a space at
        either end unless it ends in a letter of a script without them or in a mark. Case counts.
        """
        spaced = f" {text} ".translate(_WRAPPED)
        by_start, places = self._by_start, set()
        for at, first in enumerate(spaced):
            for length in (*by_start.get(first, ()), *by_start.get(spaced[at : at + 2], ())):
                place = self._patterns.get(spaced[at : at + length])
                if place is not None:
                    places.add(place)
        return sorted(places)

    @cached_property
    def _patterns(self) -> dict[str, int]:
        return {_pattern(name): place for place, name in enumerate(self.names)}

    @cached_property
    def _by_start(self) -> dict[str, Sequence[int]]:
        """The lengths of patterns by their first two characters, or their only one: few sub-strings are looked up."""
        lengths: dict[str, set[int]] = defaultdict(set)
        for pattern in self._patterns:
            lengths[pattern[:2]].add(len(pattern))
        return {start: sorted(known) for start, known in lengths.items()}


def _pattern(name: str) -> str:
    before = "" if _free(name[0]) else " "
    return before + name + ("" if _free(name[-1]) else " ")


def _free(character: str) -> bool:
    """Whether an entry may begin or end in it without a space."""
    return character in _FREE or _UNSPACED.match(character) is not None
