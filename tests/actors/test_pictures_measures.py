"""Measures: known values on known pictures, one hash with ImageHash, copies near and strangers far."""

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from actors.pictures.decode import Picture, decode
from actors.pictures.measures import Measures, entropy, measure

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
    seen = decode(file.read_bytes(), 100_000_000, 256)
    assert isinstance(seen, Picture)
    return measure(seen.pixels)


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
