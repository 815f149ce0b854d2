"""JPEG without what is not needed to see it: the markers are walked, from the first to the end of the image."""

from __future__ import annotations

import re

import numpy as np

from actors.pictures.cut import Cut, most_parts
from actors.pictures.exif import PREFIX, minimal, orientation

_EOI, _SOS = 0xD9, 0xDA
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # TEM and restarts: no length follows
_TABLES = frozenset((*range(0xC0, 0xC8), *range(0xC9, 0xD0), _SOS, 0xDB, 0xDD))  # decoders check their lengths
_TOLD = frozenset((*range(0xE0, 0xF0), 0xFE, 0xDC))  # applications, comment, DNL: decoders read over what they hold
_NEXT = re.compile(rb"\xff[\x01-\xfe]")
_AFTER_PIXELS = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
_WINDOW = 1 << 20  # bytes of the first scan that numpy looks at: 6 us for 66 KB against 20 by the pattern


def strip_jpeg(data: bytes) -> bytes:
    """Left are tables, scans, JFIF without its thumbnail, Adobe's colour transform, ICC profile and orientation.

    So EXIF, XMP, IPTC, comments, C2PA and the pictures behind the first (MPO: thumbnails, depth) are gone. What
    stands between segments, and is skipped by libjpeg, goes too. A segment that is cut off keeps its length and
    none of its content: the file stays one that was cut.
    """
    cut = Cut(data)
    at, scanned, turned = 2, False, False
    for _ in range(most_parts(data)):
        start = _marker(data, at)
        if start > at:
            cut.replace(at, start)
        if start > len(data) - 4:  # an end of image, or the begin of a segment that was cut off
            return cut.upto(min(start + 2, len(data)))
        code, at = data[start + 1], start + 2
        if code in _BARE:
            cut.replace(start, at)
            continue
        if code == _EOI or not (code in _TABLES or code in _TOLD):
            return cut.upto(at, b"" if code == _EOI else _end_of(data))
        at += max(data[at] << 8 | data[at + 1], 2)  # shorter lengths are read as none of content
        if at > len(data):
            return cut.upto(start + 4)
        if code in _TOLD:
            segment = data[start:at]
            cut.replace(start, at, _told(code, segment, turned))
            turned = turned or (code == 0xE1 and segment.startswith(PREFIX, 4))
        elif code == _SOS:
            at = _pixels_end(data, at, scanned)
            scanned = True
    return cut.upto(at, _end_of(data))


def _marker(data: bytes, at: int) -> int:
    """Where the next marker begins, the end of `data` where there is none."""
    if data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"\0", b"\xff", b""):
        return at
    found = _NEXT.search(data, at)
    return found.start() if found else len(data)


def _pixels_end(data: bytes, at: int, scanned: bool) -> int:
    """Where the entropy-coded data from `at` ends: at a marker that is no restart, or with `data`."""
    if not scanned:  # else a file of many scans would be looked at once for each
        window = np.frombuffer(data, np.uint8, min(_WINDOW, len(data) - at), at)
        markers = window[:-1] == 0xFF
        markers &= window[1:] >= 0xC0
        at += int(markers.argmax()) if markers.size else 0
    found = _AFTER_PIXELS.search(data, at)
    return found.start() if found else len(data)


def _told(code: int, segment: bytes, turned: bool) -> bytes:
    """What is left of an application segment, a comment or a number of lines."""
    body = segment[4:]
    if code == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14:
        return b"\xff\xe0\0\x10" + body[:12] + b"\0\0"
    if code == 0xE1 and body.startswith(PREFIX) and not turned:
        block = minimal(orientation(body))
        return b"\xff\xe1\0" + bytes((8 + len(block),)) + PREFIX + block if block else b""
    if code == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
        return b"\xff\xee\0\x0e" + body[:12]
    profile = code == 0xE2 and body.startswith(b"ICC_PROFILE\0")
    lines = code == 0xDC and len(body) == 2
    return segment if profile or lines else b""


def _end_of(data: bytes) -> bytes:
    """A file that breaks off in the middle still ends as it did, so that it is told from one that was cut."""
    return b"\xff\xd9" if data.endswith(b"\xff\xd9") else b""
