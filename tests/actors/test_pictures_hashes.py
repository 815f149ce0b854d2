"""Hashes: PDQ as the reference gives it, and two that find: copies near and strangers far."""

import csv
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from actors.pictures.decode import Picture, decode
from actors.pictures.hashes import Grey, Hashes, dhash, hashes, pdq_plane, quality

SCENES = [  # by the reference (ThreatExchange, through pdqhash 0.2.8)
    ((320, 240), "47723b0cc0f2c8fe276347fdfb1304fdc0067ffe3442dbb10403208cfbe25556"),
    ((511, 300), "47737b0cc0f288fe276306fdfb1300fd800e7ffc6446dbb14413209cbbe25556"),
    ((97, 260), "47f3390cc4f2c8fe076306fdfb13c0fdc00e37fe3446dbb10403208cfbe25556"),
]
PHOTOS = [
    ("coco/000000001296.jpg", "049ea20726d57d7c97286e8ccc9db974764ca480aa34a27479e80f23dbe1b7de"),
    ("flickr8k_224/2346401538_f5e8da66fc.jpg", "233186193b08ee5786b466665d5a4aa5e2a5b7593d1299a3d0cde7a7eac69235"),
    ("flickr8k_orig/1082379191_ec1e53f996.jpg", "d084d4edc4e6c08026bf1c0bcd89a7cf6d3a0df18766490739dc332e7f074fc5"),
    ("flickr8k_orig/2066241589_b80e9f676c.jpg", "214d19b8c64f3660238b4bf63024efd260de2821a67ac99f6d3c36f8c4e3f5b3"),
]


def scene(width: int, height: int) -> Grey:
    """The picture whose hashes by the reference stand above, in grey."""
    y, x = np.mgrid[0:height, 0:width]
    x, y = x / width, y / height
    disc = (x - 0.3) ** 2 + (y - 0.6) ** 2
    waves = [np.sin(9 * x + 4 * y * y + k) + np.cos(13 * y - 3 * x * y * k) + (disc < 0.04 * (k + 1)) for k in range(3)]
    return _grey(((np.stack(waves, -1) + 2) / 5 * 255).clip(0, 255).astype(np.uint8))


def _grey(pixels: NDArray[np.uint8]) -> Grey:
    grey: Grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    return grey


def _photo(file: Path) -> Grey:
    """As the look stage decodes it."""
    seen = decode(file.read_bytes(), 100_000_000, 224)
    assert isinstance(seen, Picture)
    return _grey(seen.pixels)


def _data() -> Path:
    folder = os.environ.get("ZEROMILL_TEST_DATA")
    if not folder:
        pytest.skip("ZEROMILL_TEST_DATA names no folder with real photos")
    return Path(folder) / "data"


def _apart(one: Hashes, other: Hashes) -> int:
    assert one.pdq is not None
    assert other.pdq is not None
    return (int(one.pdq, 16) ^ int(other.pdq, 16)).bit_count()


@pytest.mark.parametrize(("size", "expected"), SCENES)
def test_pdq_is_that_of_the_reference_to_a_few_bits(size: tuple[int, int], expected: str) -> None:
    assert _apart(hashes(scene(*size)), Hashes(pdq=expected)) <= 12


@pytest.mark.parametrize(("file", "expected"), PHOTOS)
def test_pdq_of_photos_is_that_of_the_reference(file: str, expected: str) -> None:
    assert _apart(hashes(_photo(_data() / "photos" / "images" / file)), Hashes(pdq=expected)) <= 4


def test_a_picture_with_little_to_see_has_little_quality() -> None:
    ramp = np.tile(np.linspace(100, 160, 256).astype(np.uint8), (256, 1))
    assert quality(pdq_plane(ramp)) < 50 < quality(pdq_plane(scene(256, 256)))


def test_a_logo_changes_few_steps_of_the_hash_that_finds_it() -> None:
    grey = scene(400, 300)
    marked = grey.copy()
    marked[275:296, 355:396] = 250
    assert (dhash(pdq_plane(grey)) ^ dhash(pdq_plane(marked))).bit_count() <= 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 1), (2, 3), (64, 64), (5, 8192)])
def test_any_shape_has_hashes(shape: tuple[int, int]) -> None:
    seen = hashes(np.random.default_rng(1).integers(0, 256, shape, np.uint8))
    assert seen.pdq is not None
    assert len(seen.pdq) == 64
    assert -(2**63) <= (seen.dhash or 0) < 2**63


def test_copies_of_photos_are_near_and_other_photos_are_far() -> None:
    folder = _data()
    with (folder / "copies" / "groups.tsv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))[:240]
    seen = {(row["group_id"], row["variant"]): hashes(_photo(folder / row["file"])) for row in rows}
    groups = sorted({group for group, _ in seen})
    near = [_apart(seen[group, "orig"], seen[group, form]) for group in groups for form in ("w200", "sq224")]
    far = [_apart(seen[a, "orig"], seen[b, "orig"]) for a in groups for b in groups if a < b]
    assert max(near) <= 64
    assert min(far) > 80
