"""What a body claims to be: its signature, and whether its container ends before it should."""

from __future__ import annotations

import zlib

DECODED = ("jpeg", "png", "gif", "webp", "avif", "tiff", "bmp")

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "bigtiff"),
    (b"MM\0+", "bigtiff"),
    (b"\0\0\x01\0", "ico"),
    (b"8BPS\0\x01", "psd"),
    (b"\xff\x0a", "jpeg xl"),
    (b"\0\0\0\x0cJXL ", "jpeg xl"),
    (b"\0\0\0\x0cjP  ", "jpeg 2000"),
    (b"\xffO\xffQ", "jpeg 2000"),
    (b"%!PS-Adobe", "eps"),
    (b"\xc5\xd0\xd3\xc6", "eps"),
    (b"\xd7\xcd\xc6\x9a", "wmf"),
)
_HEAD = 1024  # bytes in which a drawing's first element is looked for
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))  # SOF markers
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes of the known information headers


def kind_of(data: bytes) -> str | None:
    """The picture type that the first bytes declare, in lower case; null where they declare none."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _heif_kind(data)
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return "bmp"  # two letters alone would take any text that begins with them
    if data[:4] == b"\1\0\0\0" and data[40:44] == b" EMF":
        return "emf"
    return "svg" if _is_svg(_unpacked(data)) else None


def ends_early(data: bytes, kind: str) -> bool:
    """Whether the container itself says that bytes are missing at its end; false where it cannot say."""
    if kind == "jpeg":
        return not data.rstrip(b"\0\r\n ").endswith(b"\xff\xd9")
    if kind == "png":
        return b"IEND" not in data[-1024:]
    if kind == "gif":
        return not data.rstrip(b"\0").endswith(b";")
    if kind == "webp":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if kind == "bmp":
        return len(data) < int.from_bytes(data[2:6], "little")
    return kind == "avif" and _boxes_end(data) > len(data)


def jpeg_bits(data: bytes) -> int:
    """Bits of a sample as a JPEG's frame tells them; 0 where it has none."""
    at = 2
    while at + 5 <= len(data) and data[at] == 0xFF:
        code = data[at + 1]
        if code in _FRAMES:
            return data[at + 4]
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
    return 0


def _heif_kind(data: bytes) -> str | None:
    brands = {data[at : at + 4] for at in (8, *range(16, min(int.from_bytes(data[:4], "big"), 256), 4))}
    if brands & set(_AVIF_BRANDS):
        return "avif"
    return "heif" if brands & set(_HEIF_BRANDS) else None


def _unpacked(data: bytes) -> bytes:
    """The first bytes of what gzip packed (.svgz), or those of `data` itself."""
    if data[:3] != b"\x1f\x8b\x08":
        return data[:_HEAD]
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data[: 4 * _HEAD], _HEAD)
    except zlib.error:
        return b""


def _is_svg(data: bytes) -> bool:
    """A page that merely contains a drawing is no drawing: the first element decides."""
    head = data[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<?xml", b"<!--", b"<!doctype svg")):
        return b"<svg" in head and b"<html" not in head
    return head.startswith(b"<svg")


def _boxes_end(data: bytes) -> int:
    """Where the last top-level box of an ISO media file says that it ends, in bytes."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:  # 0: to the end of the file; 1: a 64-bit size, which pictures have no need of
            return len(data)
        at += size
    return at
