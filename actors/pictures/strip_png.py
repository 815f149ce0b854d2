"""PNG without what is not needed to see it: only chunks of pixels, colour and animation stay."""

from __future__ import annotations

import struct
import zlib

from actors.pictures.cut import Cut, most_parts
from actors.pictures.exif import minimal, orientation

_HEAD, _FRAME = 8, 12  # bytes of length and kind; these and the checksum
_END = b"\0\0\0\0IEND\xaeB`\x82"
_PIXELS = (b"IDAT", b"fdAT")
_SIZES = {  # of content in bytes; more would be room to hide things in
    b"IHDR": range(13, 14),
    b"PLTE": range(3, 769),
    b"tRNS": range(1, 257),
    b"gAMA": range(4, 5),
    b"cHRM": range(32, 33),
    b"sRGB": range(1, 2),
    b"sBIT": range(1, 5),
    b"bKGD": range(1, 7),
    b"pHYs": range(9, 10),
    b"cICP": range(4, 5),
    b"mDCV": range(24, 25),
    b"cLLI": range(8, 9),
    b"acTL": range(8, 9),
    b"fcTL": range(26, 27),
    b"iCCP": range(1, 1 << 31),
}


def strip_png(data: bytes) -> bytes:
    """Left are pixels, palette, transparency, colour space with its profile, animation and orientation.

    A chunk that is cut off keeps its head, and pixels as far as they go: the file stays one that was cut.
    """
    cut = Cut(data)
    at, turned = 8, False
    for _ in range(most_parts(data)):
        kind = data[at + 4 : at + _HEAD]
        size = int.from_bytes(data[at : at + 4], "big")
        end = at + _FRAME + size
        if kind == b"IEND":
            return cut.upto(at, _END)
        if len(kind) < 4:
            return cut.upto(at)
        if not kind.isalnum():  # what follows is no chunk, and no decoder goes on there
            return cut.upto(at, _END)
        if end > len(data):
            return cut.rest() if kind in _PIXELS else cut.upto(at + _HEAD)
        if kind not in _PIXELS and size not in _SIZES.get(kind, ()):
            block = data[at + _HEAD : end - 4] if kind == b"eXIf" and not turned else b""
            turned = turned or bool(block)
            cut.replace(at, end, _turn(block))
        at = end
    return cut.upto(at, _END)


def _turn(block: bytes) -> bytes:
    """The chunk of an EXIF block's orientation, empty where it is upright."""
    content = minimal(orientation(block))
    if not content:
        return b""
    body = b"eXIf" + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
