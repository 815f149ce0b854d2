"""The one EXIF tag that a picture needs, its orientation: read from a block, and a block that says no more."""

from __future__ import annotations

import struct

PREFIX = b"Exif\0\0"  # stands before the block in JPEG, by mistake elsewhere too

_ORIENTATION = 0x0112
_SHORT, _LONG = 3, 4
_ENTRIES = 256  # of the first directory; cameras write about 15
_ORDERS = {b"II": "<", b"MM": ">"}


def orientation(block: bytes) -> int:
    """The orientation (1 to 8; EXIF 2.3, 4.6.4 A) of an EXIF block; 1, upright, where none can be read."""
    base = 0
    while base < 2 * len(PREFIX) and block.startswith(PREFIX, base):
        base += len(PREFIX)
    order = _ORDERS.get(block[base : base + 2])
    if order is None or len(block) < base + 8:
        return 1
    at = base + int(struct.unpack_from(order + "I", block, base + 4)[0])
    if len(block) < at + 2:
        return 1
    (count,) = struct.unpack_from(order + "H", block, at)
    last = min(at + 2 + 12 * min(count, _ENTRIES), len(block) - 11)
    return _of_entries(block, order, range(at + 2, last, 12))


def minimal(orientation: int) -> bytes:
    """An EXIF block, without prefix, of the orientation alone: 26 bytes, none where the picture is upright."""
    if orientation == 1:
        return b""
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, _ORIENTATION, _SHORT, 1, orientation, 0, 0)


def _of_entries(block: bytes, order: str, places: range) -> int:
    for place in places:
        tag, kind, count = struct.unpack_from(order + "HHI", block, place)
        if tag == _ORIENTATION and kind in (_SHORT, _LONG) and count:
            (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), block, place + 8)
            return int(value) if 1 <= value <= 8 else 1
    return 1
