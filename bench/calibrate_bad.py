"""Pictures that are known to be bad: real photos blurred in known ways, and pictures with nothing to see."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

WIDTH = 500
"""Pixels of the longer side at which a blur is so many pixels wide."""

LEAST = 400
"""Pixels of the longer side of a photo that is blurred: the same blur of a smaller one would be stronger."""

GAUSS = (1, 2, 3, 4)
DISC = (3, 5)
MOTION = (9, 17)


def blurred(photo: Pixels) -> Iterator[tuple[str, bytes]]:
    """Kind and JPEG bytes (quality 90) of a photo, brought to 500 pixels, after each blur."""
    scale = min(1.0, WIDTH / max(photo.shape))
    size = (round(photo.shape[1] * scale), round(photo.shape[0] * scale))
    sharp = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    for sigma in GAUSS:
        yield f"Gaussian blur, sigma {sigma} px", _jpeg(cv2.GaussianBlur(sharp, (0, 0), sigma), 90)
    for radius in DISC:
        yield f"out of focus, radius {radius} px", _jpeg(cv2.filter2D(sharp, -1, _disc(radius)), 90)
    for length in MOTION:
        yield f"moved by {length} px", _jpeg(cv2.blur(sharp, (length, 1)), 90)


def blank(photo: Pixels, seed: int) -> Iterator[tuple[str, bytes]]:
    """Kind and JPEG bytes (quality 75) of frames, pages, gradients and logos; `seed` chooses their colours."""
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 256, (2, 3)).astype(float)
    page = np.ones((375, 500, 1)) * one
    faint = photo[:375, :500].astype(float) / 128
    yield "one colour", _jpeg(page, 75)
    yield "page with a little noise", _jpeg(page + rng.normal(0, 1, page.shape), 75)
    yield "nearly black frame", _jpeg(faint, 75)
    yield "nearly white frame", _jpeg(255 - faint, 75)
    yield "logo of one colour", _jpeg(_logo(one, other), 75)
    yield "gradient of two colours", _jpeg(one + (other - one) * np.linspace(0, 1, 500)[None, :, None], 75)


def _logo(paper: NDArray[np.float64], ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """A disc with a word, its edges smoothed as drawing programs do."""
    drawn = np.ones((375, 500, 3)) * paper
    cv2.circle(drawn, (250, 150), 70, ink.tolist(), -1, cv2.LINE_AA)
    cv2.putText(drawn, "zero", (150, 310), cv2.FONT_HERSHEY_DUPLEX, 3, ink.tolist(), 6, cv2.LINE_AA)
    return drawn


def _disc(radius: int) -> NDArray[np.float64]:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (x * x + y * y <= radius * radius).astype(float)
    spread: NDArray[np.float64] = disc / disc.sum()
    return spread


def _jpeg(pixels: NDArray[np.generic], quality: int) -> bytes:
    whole = np.ascontiguousarray(np.rint(pixels).clip(0, 255), np.uint8)
    if whole.shape[2] == 1:
        whole = whole.repeat(3, 2)
    encoded: bytes = simplejpeg.encode_jpeg(whole, quality, "RGB", "420")
    return encoded
