"""What is measured on a decoded picture: what there is to see, how sharp, its colours, hash and thumbnail."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actors.pictures.colours import colours
from actors.pictures.thumbnail import LONGER, Pixels, shrunk, thumbnail

Grey = NDArray[np.uint8]
Weights = NDArray[np.float32]

_SHARP_SIDE = 160  # pixels of the shorter side on which sharpness is measured
_TILES = 4  # a side; the sharpest of 16 counts: what is out of focus behind a sharp face blurs no photo
_HASH_SIDE = 32  # pixels
_HASH_FREQUENCIES = 8
_FLAT = 2.0  # standard deviation of grey under which a hash would be of noise (Meta's PDQ has such a gate too)
_CACHED_SIDE = 1024  # weights for longer sides are rare and large: made anew
_ONE_THREAD = 1 << 18  # multiplications up to which OpenBLAS starts no threads; callers are in threads already
_TURNS = np.arange(_HASH_FREQUENCIES)[:, None] * (np.arange(_HASH_SIDE) + 0.5) / _HASH_SIDE
_COSINES = np.cos(np.pi * _TURNS)  # the first rows of the unnormalised DCT II, (8, 32)


@dataclass(frozen=True)
class Measures:
    """What was read off one picture.

    `mean` and `std` of grey (0 to 255), `entropy` in bits, `sharpness` in squares of grey values, 64-bit `phash` as
    signed, null where nothing is to be seen; up to five `colours` ("#rrggbb", the most frequent first) with the
    share of the picture that each covers; `thumbnail`, a JPEG of at most 160 pixels a side.
    """

    mean: float
    std: float
    entropy: float
    sharpness: float
    phash: int | None
    colours: tuple[str, ...]
    colour_shares: tuple[float, ...]
    thumbnail: bytes


def measure(pixels: Pixels) -> Measures:
    """Everything that is read off uint8 (h, w, 3) RGB pixels."""
    grey: Grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    mean, std = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    small = shrunk(pixels, LONGER)
    seen = colours(small)
    return Measures(
        mean=mean,
        std=std,
        entropy=entropy(grey),
        sharpness=sharpness(grey),
        phash=phash(grey) if std >= _FLAT else None,
        colours=seen.codes,
        colour_shares=seen.shares,
        thumbnail=thumbnail(small),
    )


def entropy(grey: Grey) -> float:
    """Shannon entropy of the histogram of grey values, 0 to 8 bits."""
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256])
    shares = counts[counts > 0] / grey.size
    return abs(float((shares * np.log2(shares)).sum()))


def sharpness(grey: Grey) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000) in the sharpest of 4 x 4 tiles, at one size.

    At one size, so that copies of a photo compare; by Pillow's box, since filters that average every pixel in take
    contrast away by how little they shrink. docs/measures.md has the figures against the variance of the whole.
    """
    height, width = grey.shape
    scale = min(1.0, _SHARP_SIDE / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    plane = np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))
    wide, high = (side // _TILES * _TILES or side for side in size)  # equal tiles, which is also the faster case
    edges = cv2.Laplacian(plane, cv2.CV_32F)[:high, :wide]
    tiles = (min(_TILES, wide), min(_TILES, high))
    means = cv2.resize(edges, tiles, interpolation=cv2.INTER_AREA)
    squares = cv2.resize(cv2.multiply(edges, edges), tiles, interpolation=cv2.INTER_AREA)
    return max(float((squares - means * means).max()), 0.0)


def phash(grey: Grey) -> int:
    """The 64-bit pHash of ImageHash 4.3 (hash_size 8, highfreq_factor 4), as a signed integer.

    Grey to 32x32 by Pillow's Lanczos, rounded after each direction as Pillow does (802 of 803 photos give the
    same hash, one differs by 2 bits; by cv2.INTER_AREA a quarter differ, by up to 4), DCT, the 64 lowest
    frequencies against their median. First row first, the highest bit first.
    """
    small = _to_32(_to_32(grey).T).T.astype(np.float64)
    low = (_COSINES @ small @ _COSINES.T).ravel()
    return int.from_bytes(np.packbits(low > np.sort(low)[31:33].mean()).tobytes(), "big", signed=True)


def _to_32(lines: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Each of n lines at 32 pixels, as whole numbers from 0 to 255: (n, side) to (n, 32).

    Multiplied in pieces that stay in this thread: threads of OpenBLAS wait for one another by spinning, and on a
    busy machine one hash then takes 3 ms of two cores instead of 0.1 ms.
    """
    count, side = lines.shape
    weights = _weights(side).T
    pieces = -(-count * weights.size // _ONE_THREAD)
    height = -(-count // pieces)
    padded = np.zeros((pieces * height, side), np.float32)
    padded[:count] = lines
    short = (padded.reshape(pieces, height, side) @ weights).reshape(-1, _HASH_SIDE)[:count]
    return np.rint(short.clip(0, 255, out=short), out=short)


def _weights(side: int) -> Weights:
    return _cached_weights(side) if side <= _CACHED_SIDE else _lanczos(side)


def _lanczos(side: int) -> Weights:
    """What each of `side` pixels gives to each of 32 (Pillow's Resample.c): (32, side), rows sum to 1."""
    scale = side / _HASH_SIDE
    centres = (np.arange(_HASH_SIDE) + 0.5) * scale
    offsets = (np.arange(side) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.where(np.abs(offsets) < 3, np.sinc(offsets) * np.sinc(offsets / 3), 0)
    shares: Weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return shares


_cached_weights = lru_cache(256)(_lanczos)
