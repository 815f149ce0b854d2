"""AVIF and HEIF without what is not needed to see them: blanked in place, since all in them is found by its offset."""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Iterator

from actors.pictures.cut import Span, merged
from actors.pictures.exif import minimal, orientation

_CONTAINERS = frozenset((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"iprp", b"ipco"))
_DATED = frozenset((b"mvhd", b"tkhd", b"mdhd"))
_KEPT = frozenset(
    b"ftyp pitm iloc iinf iref grpl dinf vmhd nmhd stsd stts stsc stsz stz2 stco co64 stss elst ctts sbgp sgpd tref "
    b"sdtp ipma ispe pixi av1C hvcC colr pasp clap irot imir auxC a1op a1lx lsel clli mdcv cclv amve reve ndwt".split()
)
_PICTURES = frozenset((b"av01", b"hvc1", b"grid", b"iovl", b"iden", b"tmap"))  # types of items
_ENTRIES = 10_000  # of boxes, items and extents together; a picture of 100 tiles has 500
_DEPTH = 8  # of boxes in boxes; deeper ones have no meaning here
_EXIF_BYTES = 1 << 16  # of which the orientation is among the first
_EMPTY_EXIF = struct.pack("<2sHIHI", b"II", 42, 8, 0, 0)  # readers of AVIF refuse an Exif item without a block

Box = tuple[bytes, int, int, int]  # kind, begin, begin of its content, end
Extent = tuple[int, int, int]  # item, begin, end


def strip_avif(data: bytes) -> bytes:
    """Left are the pictures with their properties, frames and orientation; the length stays.

    In a file of items all content that belongs to no picture is zero (EXIF, XMP, C2PA, leftovers); in one with
    tracks, whose samples are found in many ways, that of all other items. Other boxes become free space, names
    and dates are zero.
    """
    return _Blanking(data).result()


class _BrokenError(Exception):
    """A table of items says what cannot be."""


class _Blanking:
    """One file under way."""

    def __init__(self, data: bytes) -> None:
        self._data, self._left = data, bytearray(data)
        self._rest = iter(range(_ENTRIES))
        self._content: list[Span] = []  # where items and samples are
        self._strange: list[Span] = []  # content of boxes at the top that are unknown
        self._metas: list[Span] = []
        self._moves = False

    def result(self) -> bytes:
        self._walk(0, len(self._data), 0)
        types: dict[int, bytes] = {}
        extents: list[Extent] = []
        try:
            for start, end in self._metas:
                self._items(start, end, types, extents)
        except _BrokenError:  # nothing is known of the content, by decoders neither
            types, extents = {}, []
        self._sweep(types, extents)
        for item, start, end in extents:
            if types.get(item) == b"Exif":
                self._turn(start, end)
        return self._data if self._left == self._data else bytes(self._left)

    def _boxes(self, at: int, end: int) -> Iterator[Box]:
        """The boxes between two places, the last no longer than that; what is no box has the kind b''."""
        for _ in self._rest:
            if at >= end:
                return
            kind, body = self._data[at + 4 : at + 8], at + 8
            size = int.from_bytes(self._data[at : at + 4], "big")
            if size == 1:
                size, body = int.from_bytes(self._data[body : body + 8], "big"), at + 16
            stop = end if size == 0 else min(at + size, end)
            if stop < body:
                break
            yield kind, at, body, stop
            at = stop
        if at < end:
            yield b"", at, at, end

    def _walk(self, at: int, end: int, depth: int) -> None:
        for kind, start, body, stop in self._boxes(at, end):
            self._moves = self._moves or kind == b"moov"
            if kind in (b"mdat", b"idat"):
                self._content.append((body, stop))
            elif kind == b"meta" and depth < _DEPTH:
                self._metas.append((body + 4, stop))
                self._walk(body + 4, stop, depth + 1)
            elif kind in _CONTAINERS and depth < _DEPTH:
                self._walk(body, stop, depth + 1)
            elif kind in _DATED:  # version and flags, then when it was made and changed
                self._blank(body + 4, min(body + (20 if self._data[body : body + 1] == b"\1" else 12), stop))
            elif kind == b"hdlr":
                self._blank(body + 24, stop)  # its name
            elif kind not in _KEPT:
                self._free(kind, start, stop, depth)

    def _free(self, kind: bytes, start: int, stop: int, depth: int) -> None:
        if not kind:  # from here to the end, as a size of 0 says
            self._blank(start, min(start + 4, stop))
        if stop - start >= 8:
            self._left[start + 4 : start + 8] = b"free"
            start += 8
        if depth:
            self._blank(start, stop)
        else:
            self._strange.append((start, stop))

    def _blank(self, start: int, end: int) -> None:
        if start < end:
            self._left[start:end] = bytes(end - start)

    def _items(self, at: int, end: int, types: dict[int, bytes], extents: list[Extent]) -> None:
        """The types of a meta box's items and where they are; names are blanked on the way."""
        boxes = {kind: (body, stop) for kind, _, body, stop in self._boxes(at, end)}
        if b"iinf" in boxes:
            body, stop = boxes[b"iinf"]
            for kind, _, entry, last in self._boxes(body + (6 if self._data[body : body + 1] == b"\0" else 8), stop):
                if kind == b"infe":
                    self._item(entry, last, types)
        if b"iloc" in boxes:
            extents += self._locations(*boxes[b"iloc"], boxes.get(b"idat", (0, 0)))

    def _item(self, at: int, end: int, types: dict[int, bytes]) -> None:
        version = self._data[at] if at < end else 0
        if version < 2:  # of no type: such an item is no picture
            self._blank(at + 8, end)
            return
        wide = 4 if version > 2 else 2
        name = at + 10 + wide
        types[int.from_bytes(self._data[at + 4 : at + 4 + wide], "big")] = self._data[name - 4 : name]
        stop = self._data.find(b"\0", name, end)
        if stop > name:
            self._left[name:stop] = b" " * (stop - name)

    def _locations(self, at: int, end: int, idat: Span) -> Iterator[Extent]:
        """The extents of all items (ISO 14496-12, 8.11.3), in bytes of the file."""
        reader = _Reader(self._data, at, end)
        version = reader.number(4) >> 24
        widths = reader.number(2)
        of_place, of_size, of_base = widths >> 12, widths >> 8 & 15, widths >> 4 & 15
        of_index = widths & 15 if version else 0
        for _ in range(reader.number(4 if version > 1 else 2)):
            self._count()
            item = reader.number(4 if version > 1 else 2)
            method = reader.number(2) & 15 if version else 0
            reader.number(2)  # the file it is in: this one
            base = reader.number(of_base) + (idat[0] if method == 1 else 0)
            for _ in range(reader.number(2)):
                self._count()
                reader.number(of_index)
                start = base + reader.number(of_place)
                size = reader.number(of_size)
                yield item, start, start + size if size else len(self._data)

    def _count(self) -> None:
        if next(self._rest, None) is None:
            raise _BrokenError("more entries than any file has")

    def _sweep(self, types: dict[int, bytes], extents: list[Extent]) -> None:
        """Blank the content of all but pictures; of tracks only what items say to be theirs."""
        if self._moves:
            others = [(start, end) for item, start, end in extents if types.get(item) not in _PICTURES]
            for start, end in merged(others, len(self._data)):
                self._blank(*self._within(start, end))
            pictures = []
        else:
            spans = [(start, end) for item, start, end in extents if types.get(item) in _PICTURES]
            pictures = [(start, self._left[start:end]) for start, end in merged(spans, len(self._data))]
            for start, end in self._content:
                self._blank(start, end)
        for start, end in self._strange:
            self._blank(start, end)
        for start, pixels in pictures:
            self._left[start : start + len(pixels)] = pixels

    def _within(self, start: int, end: int) -> Span:
        """As much of an extent as is of the content that it begins in."""
        home = self._content[bisect_right(self._content, (start, len(self._data))) - 1] if self._content else (0, 0)
        return max(start, home[0]), min(end, home[1])

    def _turn(self, start: int, end: int) -> None:
        """Write a block of nothing but the orientation where EXIF was, as it is wanted there (ISO 23008-12, A.2.1)."""
        start, end = self._within(start, end)
        told = self._data[start : min(end, start + _EXIF_BYTES)]
        skipped = int.from_bytes(told[:4], "big")
        block = bytes(4) + (minimal(orientation(told[4 + skipped :])) or _EMPTY_EXIF)
        if len(block) <= end - start:
            self._left[start : start + len(block)] = block


class _Reader:
    """Numbers of changing width, one after another."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    def number(self, width: int) -> int:
        at, self._at = self._at, self._at + width
        if self._at > self._end:
            raise _BrokenError(f"{self._at - self._end} bytes too short")
        return int.from_bytes(self._data[at : self._at], "big")
