"""The few colours that most of a picture has, and how much of it each covers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from math import gcd

import numpy as np

from actors.pictures.thumbnail import Pixels

MOST = 5
"""Colours of a picture at most."""

_SAMPLES = 1200  # pixels, about, that are counted: single ones, as means would mix what meets at an edge
_BINS = 24  # the fullest of 8 x 8 x 8, of which colours are made
_CLOSE = 48.0  # distance in RGB (black to white: 442) under which two bins are one colour; neighbours are 32 apart
_LEAST = 0.02  # share of a colour: less is the seam between two areas

_Bin = tuple[float, float, float, float]  # pixels, and their mean red, green and blue


@dataclass(frozen=True)
class Colours:
    """`codes` as "#rrggbb", the most frequent first, at least one; `shares` of the picture that each covers."""

    codes: tuple[str, ...]
    shares: tuple[float, ...]


def colours(pixels: Pixels) -> Colours:
    """The colours of uint8 (h, w, 3) RGB pixels: mean colours of the fullest histogram bins, close bins as one."""
    flat = _sampled(pixels)
    found = sorted((_share(near, len(flat)), _code(near)) for near in _joined(_fullest(flat)))[::-1]
    kept = [colour for colour in found if colour[0] >= _LEAST] or found[:1]
    return Colours(tuple(code for _, code in kept), tuple(share for share, _ in kept))


def _sampled(pixels: Pixels) -> Pixels:
    """Pixels at equal steps, (n, 3); a step without a divisor in common with the width gets to every column."""
    height, width = pixels.shape[:2]
    step = next(step for step in count(max(1, height * width // _SAMPLES)) if gcd(step, width) == 1)
    return pixels.reshape(-1, 3)[::step]


def _fullest(flat: Pixels) -> list[_Bin]:
    """The fullest bins of (n, 3) pixels in falling order."""
    coarse = (flat >> 5).astype(np.int64)
    bins = coarse[:, 0] * 64 + coarse[:, 1] * 8 + coarse[:, 2]
    counts = np.bincount(bins, minlength=512)
    fullest = np.argsort(-counts, kind="stable")[: min(_BINS, np.count_nonzero(counts))]
    pixels = counts[fullest]
    means = (np.bincount(bins, channel, 512)[fullest] / pixels for channel in flat.T)
    return list(zip(pixels.tolist(), *(mean.tolist() for mean in means), strict=True))


def _joined(bins: list[_Bin]) -> list[list[_Bin]]:
    """Bins that are one colour: each joins the first whose fullest is close, or begins one of the few.

    Loops, as numbers so few cost less than calls of numpy, and those of other threads wait for neither.
    """
    found: list[list[_Bin]] = []
    for one in bins:
        _, red, green, blue = one
        for near in found:
            _, r, g, b = near[0]
            if (red - r) ** 2 + (green - g) ** 2 + (blue - b) ** 2 < _CLOSE**2:
                near.append(one)
                break
        else:
            if len(found) < MOST:
                found.append([one])
    return found


def _share(near: list[_Bin], pixels: int) -> float:
    return sum(one[0] for one in near) / pixels


def _code(near: list[_Bin]) -> str:
    weight = sum(one[0] for one in near)
    red, green, blue = (round(sum(one[0] * one[channel] for one in near) / weight) for channel in (1, 2, 3))
    return f"#{red:02x}{green:02x}{blue:02x}"
