"""WebP without what is not needed to see it: only chunks of pixels, colour and animation stay."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from actors.pictures.cut import Cut, most_parts
from actors.pictures.exif import minimal, orientation

_HEAD = 8  # bytes of kind and size
_FRAME_HEAD = 16  # bytes of a frame of an animation before the chunks in it
_PIXELS = (b"VP8 ", b"VP8L", b"ALPH")
_SIZES = {b"VP8X": range(10, 11), b"ANIM": range(6, 7), b"ICCP": range(1, 1 << 31)}
_MOST_CHUNKS = 5000  # one a frame
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04  # in VP8X

Chunk = tuple[bytes, int, int]  # kind, begin, end with its byte of padding


def strip_webp(data: bytes) -> bytes:
    """Left are pixels, profile, animation and orientation; the flags of VP8X and the size are set right.

    A chunk that is cut off keeps its head, and pixels as far as they go; a header that promised more than there
    is goes on to do so: the file stays one that was cut.
    """
    declared = _HEAD + int.from_bytes(data[4:8], "little")
    chunks = list(islice(_chunks(data, 12, min(declared, len(data))), _MOST_CHUNKS))
    extended = bool(chunks) and chunks[0][0] == b"VP8X" and chunks[0][2] == 30
    blocks = [data[start + _HEAD : end] for kind, start, end in chunks if kind == b"EXIF" and end <= len(data)][:1]
    turn = minimal(orientation(blocks[0])) if blocks and extended else b""
    left = _left(data, chunks, turn)
    if declared > len(data) or int.from_bytes(left[4:8], "little") == len(left) - _HEAD:
        return left
    return left[:4] + struct.pack("<I", len(left) - _HEAD) + left[_HEAD:]


def _chunks(data: bytes, at: int, end: int) -> Iterator[Chunk]:
    """The chunks between two places; the last can say that it ends behind `end`."""
    while at + _HEAD <= end:
        size = int.from_bytes(data[at + 4 : at + _HEAD], "little")
        stop = at + _HEAD + size
        if stop != end:  # some programs leave the last byte of padding away
            stop += size & 1
        yield data[at : at + 4], at, stop
        at = stop


def _left(data: bytes, chunks: list[Chunk], turn: bytes) -> bytes:
    cut = Cut(data)
    rest = iter(range(most_parts(data)))  # frames share one bound
    stop = 12
    for kind, start, stop in chunks:
        size = stop - start - _HEAD
        if stop > len(data):
            return cut.rest() if kind in _PIXELS else cut.upto(start + _HEAD)
        if kind == b"ANMF":
            cut.replace(start, stop, _frame(data[start:stop], rest))
        elif kind == b"EXIF":
            cut.replace(start, stop, b"EXIF" + struct.pack("<I", len(turn)) + turn if turn else b"")
            turn = b""
        elif kind == b"VP8X" and size == 10:
            flags = data[start + _HEAD] & ~(_EXIF_FLAG | _XMP_FLAG) | (_EXIF_FLAG if turn else 0)
            cut.replace(start + _HEAD, start + _HEAD + 1, bytes((flags,)))
        elif kind not in _PIXELS and size not in _SIZES.get(kind, ()):
            cut.replace(start, stop)
    return cut.upto(min(stop, len(data)))


def _frame(chunk: bytes, rest: Iterator[int]) -> bytes:
    """A frame of an animation with nothing but pixels in it."""
    cut = Cut(chunk)
    first = stop = _HEAD + _FRAME_HEAD
    for (kind, start, stop), _ in zip(_chunks(chunk, first, len(chunk)), rest, strict=False):
        if kind not in _PIXELS or stop > len(chunk):
            cut.replace(start, min(stop, len(chunk)))
    left = cut.upto(min(stop, len(chunk)))
    return left if left is chunk else left[:4] + struct.pack("<I", len(left) - _HEAD) + left[_HEAD:]
