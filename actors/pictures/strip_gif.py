"""GIF without what is not needed to see it: only images, their timing and the number of loops stay."""

from __future__ import annotations

import re
from collections.abc import Iterator

from actors.pictures.cut import Cut, most_parts

_LEAD = re.compile(b"[,!;]")
_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS = (b"NETSCAPE2.0", b"ANIMEXTS1.0")
_PROFILE = b"ICCRGBG1012"


def strip_gif(data: bytes) -> bytes:
    """Left are images, graphic control, loops and an ICC profile; comments, XMP, plain text and trailing data go.

    What is cut off in an image stays, as far as it goes; what is cut off in an extension goes.
    """
    cut = Cut(data)
    at = 13 + _palette(data, 10)
    blocks = iter(range(10_000 + len(data) // 32))  # of data, commonly of 255 bytes
    for _ in range(most_parts(data)):
        found = _LEAD.search(data, at)  # decoders skip to it, too
        if found is None:
            return cut.upto(min(at, len(data)))
        start, lead = found.start(), found.group()
        cut.replace(at, start)
        if lead == b";":
            return cut.upto(start + 1)
        at = _end(data, start + (11 + _palette(data, start + 9) if lead == b"," else 2), blocks)
        if at > len(data):
            return cut.rest() if lead == b"," else cut.upto(start)
        if lead == b"!":
            cut.replace(start, at, _extension(data[start:at]))
    return cut.upto(at, b";")


def _palette(data: bytes, flags_at: int) -> int:
    """Bytes of the palette that a byte of flags announces."""
    flags = data[flags_at] if flags_at < len(data) else 0
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _end(data: bytes, at: int, blocks: Iterator[int]) -> int:
    """Where the blocks of data from `at` end, behind the empty one; behind `data` where none is."""
    for _ in blocks:
        if at >= len(data):
            break
        size = data[at]
        at += size + 1
        if not size:
            return at
    return len(data) + 1


def _extension(extension: bytes) -> bytes:
    """What is left of an extension: its one block of known size, or nothing."""
    label, size = extension[1], extension[2]
    if label == _CONTROL and size >= 4:
        return b"!\xf9\x04" + extension[3:7] + b"\0"
    if label != _APPLICATION or size != 11:
        return b""
    name, first = extension[3:14], extension[14]
    if name in _LOOPS and first >= 3 and extension[15] == 1:
        return extension[:14] + b"\x03" + extension[15:18] + b"\0"
    return extension if name == _PROFILE else b""
