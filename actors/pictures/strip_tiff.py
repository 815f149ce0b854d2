"""TIFF without what is not needed to see its first page: what the tags of the pixels do not point at is blanked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from actors.pictures.cut import Span, merged

_ENTRY = 12  # bytes
_BYTES_OF_TYPE = {1: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # all but text
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANES = 256, 257, 258, 259, 277, 278, 284
_STRIPS, _TILES, _OLD_JPEG = (273, 279), (324, 325), (513, 514)  # tags of places, and of sizes
_TILE_WIDTH, _TILE_HEIGHT = 322, 323
_TABLES = {519: 64, 520: 272, 521: 272}  # tags of places of the old JPEG's tables, and the most bytes of one
_SHAPE = {*range(254, 260), 262, 263, 266, 273, 274, 277, 278, 279, 284, 317, *range(322, 326), 338, 339, 32997}
_COLOUR = {290, 291, 301, 318, 319, 320, 321, 332, 334, 336, 340, 341, 342, 529, 530, 531, 532, 34675}
_CODEC = {292, 293, 347, *range(512, 516), *range(517, 522), 50674}  # fax, JPEG, LERC
_KEPT = frozenset(_SHAPE | _COLOUR | _CODEC)

_MOST = dict.fromkeys((*_STRIPS, *_TILES), 1 << 14)  # pieces; 16 of all other values, as many as there are samples
_WITHIN = 4 << 14  # bytes of a value that are read

Values = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class _Entry:
    """A tag: its 12 bytes, where its value is if that is elsewhere, and the value if it is of integers."""

    raw: bytes
    elsewhere: Span | None
    values: tuple[int, ...]


def strip_tiff(data: bytes) -> bytes:
    """Left are pixels, palette, ICC profile and orientation of the first page, each at its place.

    All else is zero, or cut off behind the last of them: other directories (EXIF, GPS, thumbnails, further
    pages), texts, XMP, IPTC, Photoshop's, makers' and unknown tags, and what no tag points at.
    """
    order = "<" if data[:2] == b"II" else ">"
    at = int(struct.unpack_from(order + "I", data, 4)[0]) if len(data) >= 8 else 0
    if at < 8 or at + 2 > len(data):
        return data[:8]  # no directory, no picture
    entries = _entries(data, order, at)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entry.raw for entry in entries.values()) + bytes(4)
    spans = [entry.elsewhere for entry in entries.values() if entry.elsewhere]
    values = {tag: entry.values for tag, entry in entries.items()}
    kept = list(merged([*spans, *_pixels(values, len(data))], len(data)))
    left = bytearray(max([min(at + len(directory), len(data)), *(end for _, end in kept)]))
    for start, end in [(0, 8), *kept]:
        left[start:end] = data[start:end]
    left[at : at + len(directory)] = directory[: len(left) - at]
    return data if left == data else bytes(left)


def _entries(data: bytes, order: str, at: int) -> dict[int, _Entry]:
    """The tags that stay, by number; of several alike the first, which is what decoders take."""
    (count,) = struct.unpack_from(order + "H", data, at)
    kept: dict[int, _Entry] = {}
    for place in range(at + 2, min(at + 2 + _ENTRY * count, len(data) - _ENTRY + 1), _ENTRY):
        tag, kind, length, value = struct.unpack_from(order + "HHII", data, place)
        if tag in _KEPT and kind in _BYTES_OF_TYPE and tag not in kept:
            size = _BYTES_OF_TYPE[kind] * length
            start = place + 8 if size <= 4 else value
            within = data[start : start + min(size, _WITHIN)]
            raw = data[place : place + 8] + within.ljust(4, b"\0") if size <= 4 else data[place : place + _ENTRY]
            values = _integers(within, order, kind, _MOST.get(tag, 16)) if kind in _INTEGERS else ()
            kept[tag] = _Entry(raw, (start, start + size) if size > 4 else None, values)
    return kept


def _integers(value: bytes, order: str, kind: int, most: int) -> tuple[int, ...]:
    count = min(len(value) // _BYTES_OF_TYPE[kind], most)
    return struct.unpack_from(f"{order}{count}{_INTEGERS[kind]}", value)


def _pixels(values: Values, end: int) -> Iterator[Span]:
    """Where the pixels are; without a size up to `end`, and uncompressed not less than they need."""
    plane, needed, last = _needed(values)
    for places, sizes in (_STRIPS, _TILES, _OLD_JPEG):
        told = values.get(sizes, ())
        for number, place in enumerate(values.get(places, ())):
            size = max(told[number] if number < len(told) else 0, needed if (number + 1) % plane else last)
            yield place, place + size if size else end
    for tag, size in _TABLES.items():
        yield from ((place, place + size) for place in values.get(tag, ()))


def _needed(values: Values) -> tuple[int, int, int]:
    """Of what is not compressed: how many strips a plane has, and the bytes that are read of one and of the last.

    Decoders read them whatever size is told. 0 bytes where the size decides; tiles are all alike.
    """
    if _first(values, _COMPRESSION, 1) != 1:
        return 1, 0, 0
    height, tile = _first(values, _HEIGHT, 0), _first(values, _TILE_HEIGHT, 0)
    rows = tile or max(min(_first(values, _ROWS, height), height), 1)
    strips = max(-(-height // rows), 1)
    samples = _first(values, _SAMPLES, 1) if _first(values, _PLANES, 1) == 1 else 1
    bits = _first(values, _TILE_WIDTH, _first(values, _WIDTH, 0)) * samples * max(values.get(_BITS) or (1,))
    row = -(-bits // 8)
    return strips, rows * row, rows * row if tile else (height - (strips - 1) * rows) * row


def _first(values: Values, tag: int, default: int) -> int:
    found = values.get(tag)
    return found[0] if found else default
