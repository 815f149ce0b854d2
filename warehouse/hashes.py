"""Hashes as numbers: how far they are apart, and what mirroring and rotating a picture does to them, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Grid = NDArray[np.uint8]
Turn = tuple[bool, bool, bool]
"""Whether a picture is transposed, then mirrored, then flipped upside down."""

TURNS: tuple[Turn, ...] = tuple(
    (transposed, mirrored, flipped)
    for transposed in (False, True)
    for mirrored in (False, True)
    for flipped in (False, True)
)
"""The eight symmetries of a square; the first one leaves a picture as it is."""


def pdq_words(pdqs: Sequence[str]) -> Words:
    """PDQs of 64 hex digits as words (n, 4), the first digit highest."""
    words: Words = np.frombuffer(bytes.fromhex("".join(pdqs)), ">u8").astype(np.uint64).reshape(-1, 4)
    return words


def apart_bits(ours: Words, theirs: Words) -> NDArray[np.int32]:
    """How many bits differ between hashes of several words (..., w)."""
    apart: NDArray[np.int32] = np.bitwise_count(ours ^ theirs).sum(axis=-1, dtype=np.int32)
    return apart


def turned_bits(name: str, bits: Words, turn: Turn) -> Words | None:
    """The hashes of 64 bits of that name of the turned pictures (n,); null where they cannot be told."""
    return turned_phash(bits, turn) if name == "phash" else turned_dhash(bits, turn)


def turned_phash(bits: Words, turn: Turn) -> Words:
    """pHashes (n,) of the turned pictures. A DCT's odd frequencies change sign: what was over the median is under it.

    That is exact for a median of 0, which that of 64 frequencies is nearly: a few bits are off.
    """
    return _packed(_spectrum(_unpacked(bits[:, None], 8), turn, odd=1))[:, 0]


def turned_pdq(words: Words, turn: Turn) -> Words:
    """PDQs (n, 4) of the turned pictures, 19 of 256 bits off in the mean (201 photos): PDQ's own grid is not centred.

    PDQ's first frequency is 1, not 0, and its last bit comes first.
    """
    return _packed(_spectrum(_unpacked(words, 16)[:, ::-1, ::-1], turn, odd=0)[:, ::-1, ::-1])


def turned_dhash(bits: Words, turn: Turn) -> Words | None:
    """dHashes (n,) of the turned pictures; null where steps to the right become steps down, of which it has none."""
    transposed, mirrored, flipped = turn
    if transposed:
        return None
    grid = _unpacked(bits[:, None], 8)
    if mirrored:
        grid = 1 - grid[:, :, ::-1]
    return _packed(grid[:, ::-1] if flipped else grid)[:, 0]


def _spectrum(grid: Grid, turn: Turn, odd: int) -> Grid:
    """Bits of frequencies (n, rows, columns) of the turned picture; odd ones are every second from `odd` on."""
    transposed, mirrored, flipped = turn
    grid = grid.transpose(0, 2, 1).copy() if transposed else grid.copy()
    if mirrored:
        grid[:, :, odd::2] ^= 1
    if flipped:
        grid[:, odd::2, :] ^= 1
    return grid


def _unpacked(words: Words, side: int) -> Grid:
    """(n, w) words as bits (n, side, side), the highest bit first."""
    return np.unpackbits(words.astype(">u8").view(np.uint8), axis=1).reshape(-1, side, side)


def _packed(grid: Grid) -> Words:
    words: Words = np.packbits(grid.reshape(len(grid), -1), axis=1).view(">u8").astype(np.uint64)
    return words
