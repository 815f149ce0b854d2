"""Measures: known values on known pictures, one hash with ImageHash, copies near and strangers far."""

import csv
import io
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from actors.pictures.colours import MOST, colours
from actors.pictures.decode import Picture, decode
from actors.pictures.hashes import phash
from actors.pictures.measures import Measures, entropy, measure, sharpness
from actors.pictures.thumbnail import LONGER, shrunk

HASHES = [((320, 240), "d4b52398e446b13f"), ((511, 300), "d4b52398e146b13f"), ((97, 260), "d4b52398e146b13f")]
PHOTOS = [  # by ImageHash 4.3.2 on Pillow 13.0.0
    ("photos/images/coco/000000001296.jpg", "f03d43ea1b979681"),
    ("photos/images/flickr8k_224/2346401538_f5e8da66fc.jpg", "a956b172d962a4cd"),
    ("photos/images/flickr8k_orig/1082379191_ec1e53f996.jpg", "97d1e0ba8cf033c3"),
    ("photos/images/flickr8k_orig/2066241589_b80e9f676c.jpg", "9e62e3871e6c2f42"),
]


def scene(width: int, height: int) -> NDArray[np.uint8]:
    """The picture whose hashes by ImageHash 4.3.2 stand below."""
    y, x = np.mgrid[0:height, 0:width]
    x, y = x / width, y / height
    disc = (x - 0.3) ** 2 + (y - 0.6) ** 2
    waves = [np.sin(9 * x + 4 * y * y + k) + np.cos(13 * y - 3 * x * y * k) + (disc < 0.04 * (k + 1)) for k in range(3)]
    return ((np.stack(waves, -1) + 2) / 5 * 255).clip(0, 255).astype(np.uint8)


def photos() -> Path:
    folder = os.environ.get("ZEROMILL_TEST_DATA")
    if not folder:
        pytest.skip("ZEROMILL_TEST_DATA names no folder with real photos")
    return Path(folder) / "data"


def measured(file: Path) -> Measures:
    return measure(pixels_of(file.read_bytes()))


def pixels_of(data: bytes) -> NDArray[np.uint8]:
    """As the look stage decodes them."""
    seen = decode(data, 100_000_000, 224)
    assert isinstance(seen, Picture)
    return seen.pixels


def apart(left: int | None, right: int | None) -> int:
    assert left is not None
    assert right is not None
    return ((left ^ right) & (2**64 - 1)).bit_count()


def test_a_flat_picture_measures_nothing_and_has_no_hash() -> None:
    seen = measure(np.full((240, 320, 3), 90, np.uint8))
    assert (seen.mean, seen.std, seen.entropy, seen.sharpness) == pytest.approx((90, 0, 0, 0), abs=1e-5)
    assert seen.phash is None


def test_entropy_of_equally_many_values_is_their_logarithm() -> None:
    grey = np.repeat(np.arange(0, 256, 16, dtype=np.uint8), 100).reshape(40, 40)
    assert entropy(grey) == pytest.approx(4, abs=1e-6)
    assert entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == pytest.approx(8, abs=1e-6)


def test_mean_and_deviation_are_of_grey() -> None:
    half = np.zeros((100, 100, 3), np.uint8)
    half[:, 50:] = 200
    seen = measure(half)
    assert (seen.mean, seen.std) == pytest.approx((100, 100))


@pytest.mark.parametrize(("size", "expected"), HASHES)
def test_the_hash_is_that_of_imagehash(size: tuple[int, int], expected: str) -> None:
    assert apart(measure(scene(*size)).phash, int(expected, 16)) <= 2


def test_the_hash_fits_a_signed_64_bit_column() -> None:
    hashes = [measure(scene(200 + k, 150)[:, k:]).phash or 0 for k in range(0, 60, 5)]
    assert all(-(2**63) <= value < 2**63 for value in hashes)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 1), (2, 3), (5, 8192)])
def test_any_shape_can_be_measured(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert measure(noise).sharpness >= 0


def test_blur_lowers_sharpness_and_size_hardly_matters() -> None:
    noise = np.random.default_rng(2).normal(0, 25, (60, 90, 3)).repeat(10, 0).repeat(10, 1)
    sharp = Image.fromarray((scene(900, 600) + noise).clip(0, 255).astype(np.uint8))
    value = measure(np.asarray(sharp)).sharpness
    half = measure(np.asarray(sharp.resize((450, 300), Image.Resampling.LANCZOS))).sharpness
    blurred = measure(np.asarray(sharp.filter(ImageFilter.GaussianBlur(12)))).sharpness
    assert 0.6 < half / value < 1.5
    assert blurred < value / 10


@pytest.mark.parametrize(("file", "expected"), PHOTOS)
def test_the_hash_of_photos_is_that_of_imagehash(file: str, expected: str) -> None:
    assert apart(measured(photos() / file).phash, int(expected, 16)) <= 2


def test_copies_of_photos_are_near_and_other_photos_are_far() -> None:
    folder = photos()
    with (folder / "copies" / "groups.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))[:240]
    hashes = {(row["group_id"], row["variant"]): measured(folder / row["file"]).phash for row in rows}
    groups = sorted({group for group, _ in hashes})
    near = [apart(hashes[group, "orig"], hashes[group, form]) <= 8 for group in groups for form in ("w200", "sq224")]
    far = [apart(hashes[a, "orig"], hashes[b, "orig"]) <= 8 for a in groups for b in groups if a < b]
    assert sum(near) / len(near) > 0.97
    assert not any(far)


def test_a_recompressed_photo_measures_the_same() -> None:
    image = Image.fromarray(scene(640, 480))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    seen = decode(buffer.getvalue(), 100_000_000, 256)
    assert isinstance(seen, Picture)
    again, first = measure(seen.pixels), measure(np.asarray(image))
    assert apart(again.phash, first.phash) <= 4
    assert (again.mean, again.std, again.entropy) == pytest.approx((first.mean, first.std, first.entropy), rel=0.05)


def imagehash_of(data: bytes) -> int:
    """ImageHash's rule said again: Pillow's whole decode, Lanczos to 32 x 32, DCT, the lowest 8 x 8, their median."""
    with Image.open(io.BytesIO(data)) as image:
        if "A" in image.mode:  # ImageHash drops the alpha channel and hashes what nobody sees; here it lies on white
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    places = np.arange(32)
    waves = 2 * np.cos(np.pi * np.outer(places, 2 * places + 1) / 64)  # DCT II as SciPy has it, unnormalised
    low = (waves @ grey @ waves.T)[:8, :8]
    return int("".join("1" if bit else "0" for bit in (low > np.median(low)).flat), 2)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def forms_of(file: Path) -> Iterator[bytes]:
    """A photo in the forms that the decoder treats otherwise: enlarged for its scales, progressive, not JPEG."""
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    for factor in (2, 4):
        large = image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
        yield encoded(large, "JPEG", quality=90)
    yield encoded(image, "JPEG", quality=90, progressive=True)
    yield encoded(image, "PNG", compress_level=1)
    yield encoded(image, "WEBP", quality=80)


def test_the_hash_of_real_photos_in_every_form_is_that_of_imagehashs_rule() -> None:
    images = photos() / "photos" / "images"
    originals = [*sorted(images.glob("*/*.jpg"))[::8], *sorted((photos() / "web_pages" / "images").iterdir())]
    bodies = [file.read_bytes() for file in originals]
    bodies += [body for file in sorted(images.glob("flickr8k_orig/*.jpg"))[::40] for body in forms_of(file)]
    off = [apart(phash_of(body), imagehash_of(body)) for body in bodies]
    assert len(off) > 170
    assert max(off) <= 4
    assert sum(bits <= 2 for bits in off) >= 0.98 * len(off)


def phash_of(body: bytes) -> int | None:
    return measure(pixels_of(body)).phash


def test_a_hash_is_made_in_its_callers_thread_alone() -> None:
    grey = scene(640, 427)[:, :, 0].copy()
    phash(grey)
    began, began_here = time.process_time(), time.thread_time()
    for _ in range(100):
        phash(grey)
    here = time.thread_time() - began_here
    assert time.process_time() - began < 1.3 * here


def test_threads_measure_the_same_as_one() -> None:
    scenes = [scene(200 + 7 * k, 150 + 5 * k) for k in range(24)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(measure, scenes)) == [measure(pixels) for pixels in scenes]


def textured(width: int, height: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(3).normal(0, 40, (height, width, 3))
    return (scene(width, height) + noise).clip(0, 255).astype(np.uint8)


def grey_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def test_a_photo_is_as_sharp_as_its_sharpest_part() -> None:
    sharp = textured(480, 320)
    soft = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(4)))
    face = soft.copy()
    face[80:240, 120:360] = sharp[80:240, 120:360]
    assert sharpness(grey_of(face)) > 0.8 * sharpness(grey_of(sharp))
    assert sharpness(grey_of(soft)) < 0.05 * sharpness(grey_of(sharp))


@pytest.mark.parametrize("side", [224, 240, 280, 333, 400, 447])
def test_a_photo_is_as_sharp_at_every_scale_of_the_decoder(side: int) -> None:
    file = sorted((photos() / "photos" / "images" / "coco").glob("*.jpg"))[3]
    with Image.open(file) as whole:
        values = [sharpness(grey_of(np.asarray(_at(whole, height)))) for height in (320, side)]
    assert values[1] == pytest.approx(values[0], rel=0.25)


def _at(image: Image.Image, side: int) -> Image.Image:
    scale = side / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


RED, GREEN, INK, PAPER = (200, 30, 40), (20, 140, 90), (10, 20, 60), (240, 238, 230)


def stripes(width: int, height: int, *parts: tuple[tuple[int, int, int], float]) -> NDArray[np.uint8]:
    """Colours side by side, each with its share of the width."""
    pixels = np.zeros((height, width, 3), np.uint8)
    edges = np.rint(np.cumsum([0.0, *(share for _, share in parts)]) * width).astype(int)
    for (colour, _), start, end in zip(parts, edges, edges[1:], strict=False):
        pixels[:, start:end] = colour
    return pixels


@pytest.mark.parametrize("size", [(320, 240), (500, 333), (224, 224), (100, 41), (1600, 224)])
def test_the_colours_of_stripes_and_what_each_covers_are_found(size: tuple[int, int]) -> None:
    parts = ((PAPER, 0.5), (RED, 0.27), (INK, 0.15), (GREEN, 0.08))
    seen = measure(stripes(*size, *parts))
    assert [_rgb(code) for code in seen.colours] == [pytest.approx(colour, abs=6) for colour, _ in parts]
    assert seen.colour_shares == pytest.approx([share for _, share in parts], abs=0.02)


def _rgb(code: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(code.removeprefix("#")))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (127, 128, 129), RED])
def test_a_picture_of_one_colour_has_exactly_that_one(colour: tuple[int, int, int]) -> None:
    seen = measure(stripes(333, 250, (colour, 1)))
    assert [_rgb(code) for code in seen.colours] == [colour]
    assert seen.colour_shares == (1,)


def test_a_colour_that_wavers_about_the_edges_of_bins_is_one() -> None:
    noise = np.random.default_rng(4).integers(-5, 6, (300, 300, 3))
    seen = colours((128 + noise).astype(np.uint8))
    assert len(seen.codes) == 1
    assert seen.shares[0] == pytest.approx(1)
    assert _rgb(seen.codes[0]) == pytest.approx((128, 128, 128), abs=1)


def test_a_grey_picture_has_greys() -> None:
    grey = np.linspace(0, 255, 300).astype(np.uint8)[None, :, None].repeat(200, 0).repeat(3, 2)
    codes = [_rgb(code) for code in measure(grey).colours]
    assert len(codes) > 2
    assert all(len(set(code)) == 1 for code in codes)


def test_more_colours_than_are_kept_leave_the_most_frequent_ones() -> None:
    shares = (0.28, 0.22, 0.17, 0.13, 0.1, 0.06, 0.04)
    hues = ((250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250), (120, 120, 120))
    seen = measure(stripes(640, 100, *zip(hues, shares, strict=True)))
    assert seen.colour_shares == pytest.approx(shares[:MOST], abs=0.02)


def test_noise_without_a_frequent_colour_has_its_most_frequent_one() -> None:
    seen = colours(np.random.default_rng(5).integers(0, 256, (120, 160, 3), np.uint8))
    assert len(seen.codes) == 1
    assert 0 < seen.shares[0] < 0.02


shapes = st.tuples(st.integers(1, 700), st.integers(1, 700)) | st.sampled_from([(3, 5000), (5000, 3), (1, 8192)])


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**32 - 1), st.sampled_from([1, 40, 256]))
def test_of_any_shape_there_are_colours_and_a_thumbnail(shape: tuple[int, int], seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = shape
    small = rng.integers(0, levels, (min(height, 20), min(width, 20), 3), np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST))
    seen = measure(pixels)
    assert 1 <= len(seen.colours) == len(seen.colour_shares) <= MOST
    assert all(re.fullmatch("#[0-9a-f]{6}", code) for code in seen.colours)
    assert list(seen.colour_shares) == sorted(seen.colour_shares, reverse=True)
    assert 0 < sum(seen.colour_shares) <= 1 + 1e-9
    with Image.open(io.BytesIO(seen.thumbnail)) as thumb:
        thumb.load()
        scale = min(1.0, LONGER / max(shape))
        assert thumb.size == (max(1, round(width * scale)), max(1, round(height * scale)))


def test_a_thumbnail_is_a_small_jpeg_without_metadata() -> None:
    body = encoded(Image.fromarray(scene(640, 480)), "JPEG", quality=90, exif=_exif(), comment=b"taken at home")
    thumb = measure(pixels_of(body)).thumbnail
    with Image.open(io.BytesIO(thumb)) as image:
        assert (image.format, image.size) == ("JPEG", (160, 120))
        assert {name for name in image.info if not name.startswith(("jfif", "dpi"))} == set()
    markers = set(re.findall(rb"\xff([\xe0-\xef\xfe])", thumb[: thumb.index(b"\xff\xda")]))
    assert markers <= {b"\xe0"}
    assert len(thumb) < 12_000


def _exif() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    return exif.tobytes()


@pytest.mark.parametrize("resized", [(500, 333), (320, 240), (1344, 448), (90, 60)])
def test_a_thumbnail_shows_the_picture(resized: tuple[int, int]) -> None:
    pixels = scene(*resized)
    with Image.open(io.BytesIO(measure(pixels).thumbnail)) as thumb:
        shown = np.asarray(thumb.convert("RGB"), np.int16)
        expected = np.asarray(Image.fromarray(pixels).resize(thumb.size, Image.Resampling.BOX), np.int16)
    assert np.abs(shown - expected).mean() < 4


def test_a_picture_that_is_small_already_is_itself() -> None:
    pixels = scene(160, 97)
    assert shrunk(pixels, LONGER) is pixels
