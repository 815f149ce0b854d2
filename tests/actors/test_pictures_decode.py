"""Decoding: every kind of picture upright in RGB, and a reason for whatever is none."""

import gzip
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from actors.pictures.decode import Fault, Picture, decode

LIMIT = 100_000_000
CODECS = ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP"]


def scene(width: int, height: int) -> NDArray[np.uint8]:
    """A smooth picture without symmetry, so that any wrong turn shows."""
    y, x = np.mgrid[0:height, 0:width]
    x, y = x / width, y / height
    disc = (x - 0.3) ** 2 + (y - 0.6) ** 2
    waves = [np.sin(9 * x + 4 * y * y + k) + np.cos(13 * y - 3 * x * y * k) + (disc < 0.04 * (k + 1)) for k in range(3)]
    return ((np.stack(waves, -1) + 2) / 5 * 255).clip(0, 255).astype(np.uint8)


def encoded(image: Image.Image, codec: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, codec, **how)
    return buffer.getvalue()


def picture(data: bytes, scale_to: int = 256) -> Picture:
    seen = decode(data, LIMIT, scale_to)
    assert isinstance(seen, Picture), seen
    return seen


def fault(data: bytes, max_pixels: int = LIMIT) -> Fault:
    seen = decode(data, max_pixels, 256)
    assert isinstance(seen, Fault), seen
    return seen


def unlike(pixels: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """Mean absolute difference of grey values at 32x32, of 255."""
    small = [np.asarray(Image.fromarray(p).convert("L").resize((32, 32)), np.float64) for p in (pixels, wanted)]
    return float(np.abs(small[0] - small[1]).mean())


SCENE = scene(300, 200)
JPEG = encoded(Image.fromarray(SCENE), "JPEG", quality=90)
PNG = encoded(Image.fromarray(SCENE), "PNG")


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_gives_the_same_picture(codec: str) -> None:
    seen = picture(encoded(Image.fromarray(SCENE), codec))
    assert (seen.format, seen.width, seen.height) == (codec.lower(), 300, 200)
    assert seen.pixels.dtype == np.uint8
    assert seen.pixels.shape == (200, 300, 3)
    assert unlike(seen.pixels, SCENE) < 3


@pytest.mark.parametrize(
    ("mode", "codec"),
    [
        ("CMYK", "JPEG"),
        ("CMYK", "TIFF"),
        ("L", "JPEG"),
        ("L", "PNG"),
        ("LA", "PNG"),
        ("RGBA", "PNG"),
        ("RGBA", "WEBP"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("I;16", "PNG"),
        ("I;16", "TIFF"),
        ("F", "TIFF"),
    ],
)
def test_every_mode_becomes_rgb(mode: str, codec: str) -> None:
    image = Image.fromarray(SCENE)
    grey = np.asarray(image.convert("L"))
    if mode == "I;16":
        image = Image.fromarray(grey * np.uint16(256) + (255 - grey))  # the lower byte says another thing
    else:
        image = image.convert("L").convert(mode) if mode == "F" else image.convert(mode)
    seen = picture(encoded(image, codec))
    assert seen.pixels.shape == (200, 300, 3)
    assert unlike(seen.pixels, SCENE) < (16 if mode == "F" else 4)  # F is stretched to its own extremes


def test_every_form_of_cmyk_jpeg_has_the_right_colours() -> None:
    inverted = Image.fromarray(255 - SCENE).convert("YCbCr")
    planes = [Image.fromarray(255 - np.asarray(plane)) for plane in inverted.split()]
    data = encoded(Image.merge("CMYK", [*planes, Image.new("L", (300, 200), 0)]), "JPEG", quality=95, subsampling=0)
    place = data.index(b"\xff\xee\0\x0eAdobe")
    ycck = data[: place + 15] + b"\2" + data[place + 16 :]
    seen = picture(ycck)
    assert np.abs(seen.pixels.astype(int) - SCENE).mean() < 4


def test_a_picture_of_many_frames_or_pages_shows_the_first() -> None:
    others = [Image.fromarray(255 - SCENE)] * 2
    for codec in ("WEBP", "GIF", "PNG", "AVIF", "TIFF", "MPO"):
        seen = picture(encoded(Image.fromarray(SCENE), codec, save_all=True, append_images=others))
        assert seen.format == ("jpeg" if codec == "MPO" else codec.lower())
        assert unlike(seen.pixels, SCENE) < 4


def test_deep_and_interlaced_png_decodes() -> None:
    deep = SCENE.astype(">u2") * 256 + 255 - SCENE  # the lower byte says another thing
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [deep[y::down, x::across] for x, y, across, down in passes]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts for row in part)
    head = struct.pack(">IIBBBBB", 300, 200, 16, 2, 0, 0, 1)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.array_equal(picture(PNG[:8] + chunks).pixels, SCENE)


def test_progressive_jpeg_decodes() -> None:
    seen = picture(encoded(Image.fromarray(SCENE), "JPEG", quality=90, progressive=True))
    assert unlike(seen.pixels, SCENE) < 3


def test_transparent_pixels_lie_on_white() -> None:
    hidden = np.dstack([SCENE, np.zeros((200, 300), np.uint8)])
    assert picture(encoded(Image.fromarray(hidden), "PNG")).pixels.min() == 255


def test_a_transparent_palette_entry_lies_on_white() -> None:
    image = Image.new("P", (40, 30), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert picture(encoded(image, "PNG", transparency=1)).pixels.min() == 255


@pytest.mark.parametrize("codec", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_on_pixels_and_size(codec: str, orientation: int) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # PIL's transposition that a camera would have applied
    turned = Image.fromarray(SCENE)
    if orientation > 1:
        turned = turned.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = picture(encoded(turned, codec, exif=exif.tobytes()), 32)
    assert (seen.width, seen.height) == (300, 200)
    assert seen.pixels.shape[1] > seen.pixels.shape[0]
    assert unlike(seen.pixels, SCENE) < 4


def test_a_broken_exif_block_leaves_the_picture_as_it_lies() -> None:
    seen = picture(encoded(Image.fromarray(SCENE), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"))
    assert (seen.width, seen.height) == (300, 200)


@pytest.mark.parametrize("codec", CODECS)
def test_large_pictures_come_back_smaller_but_no_side_under_the_scale(codec: str) -> None:
    large = np.asarray(Image.fromarray(SCENE).resize((1500, 1000)))
    seen = picture(encoded(Image.fromarray(large), codec), 200)
    assert (seen.width, seen.height) == (1500, 1000)
    assert 200 <= min(seen.pixels.shape[:2]) < 400
    assert unlike(seen.pixels, SCENE) < 3


def test_a_long_strip_is_not_kept_at_full_length() -> None:
    seen = picture(encoded(Image.new("L", (100_000, 3), 77), "PNG"))
    assert (seen.width, seen.height) == (100_000, 3)
    assert max(seen.pixels.shape) <= 8192


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"<!doctype html><html><svg></svg></html>",
        b"<html><body>gone",
        b"<?xml version='1.0'?><html><svg/></html>",
        b"BMW is a maker of cars",
        b'{"error": "not found"}',
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"%PDF-1.7",
        gzip.compress(b"<html><svg/></html>"),
        gzip.compress(bytes(100_000_000), 9)[:5000],
        b"\x1f\x8b\x08 and no more",
    ],
)
def test_what_has_no_signature_is_not_an_image(data: bytes) -> None:
    assert fault(data).reason == "image_not_image"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "svg"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a drawing --><svg/>', "svg"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif"),
        (b"\xff\x0a" + bytes(20), "jpeg xl"),
        (b"\0\0\x01\0\x01\0", "ico"),
        (b"8BPS\0\x01" + bytes(20), "psd"),
        (gzip.compress(b'<?xml version="1.0"?><svg>' + b"<path/>" * 9000 + b"</svg>"), "svg"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "eps"),
        (b"\xc5\xd0\xd3\xc6" + bytes(26), "eps"),
        (b"\xd7\xcd\xc6\x9a" + bytes(20), "wmf"),
        (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(40), "emf"),
        (JPEG.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"), "jpeg"),
    ],
)
def test_a_known_type_without_a_decoder_is_unsupported(data: bytes, kind: str) -> None:
    seen = fault(data)
    assert (seen.reason, seen.format) == ("image_unsupported", kind)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_bomb_is_known_by_its_header() -> None:
    head = struct.pack(">IIBBBBB", 30000, 30000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(30000 * 3751), 9)  # valid: only the header may be read
    seen = fault(PNG[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    assert (seen.reason, seen.width, seen.height) == ("image_bomb", 30000, 30000)
    assert seen.detail == "30000x30000 pixels; at most 100000000"


@pytest.mark.parametrize("codec", CODECS)
def test_the_bound_of_pixels_is_exact(codec: str) -> None:
    data = encoded(Image.fromarray(SCENE), codec)
    assert isinstance(decode(data, 300 * 200, 256), Picture)
    assert fault(data, 300 * 200 - 1).reason == "image_bomb"


def test_pictures_over_the_bound_of_pillow_itself_decode() -> None:
    seen = picture(encoded(Image.new("1", (14_000, 7_000), 1), "PNG"))  # Pillow warns from 89,478,485 pixels
    assert (seen.width, seen.height) == (14_000, 7_000)


def test_a_jpeg_of_thousands_of_scans_is_a_bomb() -> None:
    data = encoded(Image.fromarray(scene(640, 480)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    data = data[:last] + data[last:-2] * 3000 + b"\xff\xd9"
    assert fault(data, 640 * 480).reason == "image_bomb"


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_cut_file_is_truncated(codec: str, share: float) -> None:
    noisy = SCENE + np.random.default_rng(0).integers(0, 20, SCENE.shape, np.uint8)
    data = encoded(Image.fromarray(noisy), codec)
    assert fault(data[: int(len(data) * share)]).reason == "image_truncated"


def test_a_jpeg_with_harmless_faults_is_fine() -> None:
    for data in (JPEG[:-2] + b"\0\0\0garbage\xff\xd9", JPEG + b"<!-- tracked -->" * 50):
        assert unlike(picture(data).pixels, SCENE) < 3


def test_a_signature_alone_says_what_failed() -> None:
    seen = fault(b"\xff\xd8\xff\xe0" + bytes(200) + b"\xff\xd9")
    assert seen.reason == "image_failed"
    assert seen.detail.startswith("UnidentifiedImageError")


SMALL = Image.fromarray(scene(60, 40))
SEEDS = [encoded(SMALL, codec) for codec in CODECS] + [
    encoded(SMALL, "JPEG", progressive=True),
    encoded(SMALL.convert("CMYK"), "JPEG"),
    encoded(SMALL.convert("P"), "PNG", transparency=0),
]


@settings(max_examples=400, deadline=2000)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=8),
    keep=st.floats(0, 1),
)
def test_no_bytes_raise_or_hang(seed: bytes, edits: list[tuple[float, bytes]], keep: float) -> None:
    data = bytearray(seed)
    for at, new in edits:
        place = int(at * len(data))
        data[place : place + len(new)] = new
    seen = decode(bytes(data[: max(1, int(keep * len(data)))] if keep < 0.5 else data), 1_000_000, 256)
    if isinstance(seen, Picture):
        assert seen.pixels.ndim == 3
        assert seen.width * seen.height <= 1_000_000
    else:
        assert seen.detail
