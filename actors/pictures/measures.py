"""What is measured on a decoded picture: what there is to see, how sharp, its colours, hashes and thumbnail."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from actors.pictures.colours import colours
from actors.pictures.hashes import Grey, Hashes, hashes
from actors.pictures.thumbnail import LONGER, Pixels, shrunk, thumbnail

_SHARP_SIDE = 160  # pixels of the shorter side on which sharpness is measured
_TILES = 4  # a side; the sharpest of 16 counts: what is out of focus behind a sharp face blurs no photo
_FLAT = 2.0  # standard deviation of grey under which a hash would be of noise (Meta's PDQ has such a gate too)


@dataclass(frozen=True)
class Measures:
    """What was read off one picture.

    `mean` and `std` of grey (0 to 255), `entropy` in bits, `sharpness` in squares of grey values; what
    `hashes.Hashes` tells, null where nothing is to be seen; up to five `colours` ("#rrggbb", the most frequent first)
    with the share of the picture that each covers; `thumbnail`, a JPEG of at most 160 pixels a side.
    """

    mean: float
    std: float
    entropy: float
    sharpness: float
    phash: int | None
    dhash: int | None
    pdq: str | None
    pdq_quality: int | None
    colours: tuple[str, ...]
    colour_shares: tuple[float, ...]
    thumbnail: bytes


def measure(pixels: Pixels) -> Measures:
    """Everything that is read off uint8 (h, w, 3) RGB pixels."""
    grey: Grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    mean, std = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    small = shrunk(pixels, LONGER)
    seen = colours(small)
    hashed = hashes(grey) if std >= _FLAT else Hashes()
    return Measures(
        mean=mean,
        std=std,
        entropy=entropy(grey),
        sharpness=sharpness(grey),
        phash=hashed.phash,
        dhash=hashed.dhash,
        pdq=hashed.pdq,
        pdq_quality=hashed.quality,
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
