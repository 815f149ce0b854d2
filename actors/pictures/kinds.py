"""What a body claims to be: its signature, and whether its container ends before it should."""

from __future__ import annotations

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
)
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
    return "svg" if _is_svg(data) else None


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


def _heif_kind(data: bytes) -> str | None:
    brands = {data[at : at + 4] for at in (8, *range(16, min(int.from_bytes(data[:4], "big"), 256), 4))}
    if brands & set(_AVIF_BRANDS):
        return "avif"
    return "heif" if brands & set(_HEIF_BRANDS) else None


def _is_svg(data: bytes) -> bool:
    """A page that merely contains a drawing is no drawing: the first element decides."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
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
