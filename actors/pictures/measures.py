"""What is measured on a decoded picture: how much there is to see, how sharp, and its perceptual hash."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Weights = NDArray[np.float32]

_SHARP_SIDE = 128  # pixels of the shorter side on which sharpness is measured
_HASH_SIDE = 32  # pixels
_HASH_FREQUENCIES = 8
_FLAT = 2.0  # standard deviation of grey under which a hash would be of noise (Meta's PDQ has such a gate too)
_CACHED_SIDE = 1024  # weights for longer sides are rare and large: made anew
_TURNS = np.arange(_HASH_FREQUENCIES)[:, None] * (np.arange(_HASH_SIDE) + 0.5) / _HASH_SIDE
_COSINES = np.cos(np.pi * _TURNS)  # the first rows of the unnormalised DCT II, (8, 32)


@dataclass(frozen=True)
class Measures:
    """`mean` and `std` of grey (0 to 255), `entropy` in bits, `sharpness`, and 64-bit `phash` as signed."""

    mean: float
    std: float
    entropy: float
    sharpness: float
    phash: int | None


def measure(pixels: NDArray[np.uint8]) -> Measures:
    """Everything that is read off uint8 (h, w, 3) RGB pixels; `phash` is null where nothing is to be seen."""
    grey: Grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    mean, std = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    return Measures(mean, std, entropy(grey), sharpness(grey), phash(grey) if std >= _FLAT else None)


def entropy(grey: Grey) -> float:
    """Shannon entropy of the histogram of grey values, 0 to 8 bits."""
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256])
    shares = counts[counts > 0] / grey.size
    return abs(float((shares * np.log2(shares)).sum()))


def sharpness(grey: Grey) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al. 2000) at one size, so that copies of a photo compare.

    At 128 pixels of the shorter side, copies of 224 and 133 pixels keep 0.75 and 0.64 of the value of a photo
    of 500x333 (median of 273), and a blur of 3 pixels of 333 is told from 353 sharp photos with an AUC of
    0.999; at 256 the copies keep 0.4. A bound of 260 turns 1 % of sharp photos away.
    """
    height, width = grey.shape
    scale = min(1.0, _SHARP_SIDE / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return float(cv2.meanStdDev(cv2.Laplacian(small, cv2.CV_16S))[1][0, 0] ** 2)


def phash(grey: Grey) -> int:
    """The 64-bit pHash of ImageHash 4.3 (hash_size 8, highfreq_factor 4), as a signed integer.

    Grey to 32x32 by Pillow's Lanczos, rounded after each direction as Pillow does (802 of 803 photos give the
    same hash, one differs by 2 bits; by cv2.INTER_AREA a quarter differ, by up to 4), DCT, the 64 lowest
    frequencies against their median. First row first, the highest bit first.
    """
    height, width = grey.shape
    rows = np.rint(np.clip(grey.astype(np.float32) @ _weights(width).T, 0, 255))
    small = np.rint(np.clip(_weights(height) @ rows, 0, 255)).astype(np.float64)
    low = _COSINES @ small @ _COSINES.T
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big", signed=True)


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
