"""Bytes of which stretches are taken out, or put in others' place: not copied while nothing is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

Span = tuple[int, int]  # from the first byte to behind the last


class Cut:
    """What is left of `data`; stretches are named in rising order and lie apart."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pieces: list[bytes] = []
        self._at = 0

    def replace(self, start: int, end: int, new: bytes = b"") -> None:
        """`new` stands where data[start:end] stood."""
        if self._data[start:end] != new:
            self._pieces += (self._data[self._at : start], new)
            self._at = end

    def rest(self) -> bytes:
        """What is left, `data` itself where that is all of it."""
        return b"".join((*self._pieces, self._data[self._at :])) if self._at else self._data

    def upto(self, end: int, last: bytes = b"") -> bytes:
        """What is left of data[:end], and `last`."""
        self.replace(end, len(self._data), last)
        return self.rest()


def most_parts(data: bytes) -> int:
    """How many parts of a container are looked at: more than any program writes, and few enough to be fast.

    What stands behind them is cut off. A PNG of 20 MB has 5,000 chunks of 4 KB; 25,000 would be looked at.
    """
    return 5_000 + len(data) // 1024


def merged(spans: Iterable[Span], limit: int) -> Iterator[Span]:
    """The stretches up to `limit` that any of the spans covers, in rising order, each byte once."""
    last = 0
    for start, end in sorted(spans):
        start, end = max(start, last), min(end, limit)
        if start < end:
            yield start, end
            last = end
