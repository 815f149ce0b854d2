"""Pictures at the size and in the crop that a model was trained on, before they become numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Channels = tuple[float, float, float]

# A lesser reduction by cv2.INTER_LINEAR is as near to Pillow's bicubic as one by INTER_AREA, in a fifth of its time (48
# photos in three sizes: 1 - cosine of ViT-B/32 with random weights is 1.3e-4 on the mean with either).
_MUCH = 1.5

# Of a picture that would be resized to more than so many times the crop only the part around the crop is resized: a
# strip of one pixel by a million would become one of 224 by 224 million.
_LONG = 8
_AROUND = 2  # pixels, so that the crop's edges are resized as within the whole


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its pictures: `height` x `width` pixels, each channel minus `mean`, over `std` (of 0 to 1).

    `resize`: `shortest` fits the shorter side and cuts the middle out, `longest` fits the longer one and pads with
    `fill` (0 to 255), `squash` fits both. The terms are open_clip's.
    """

    height: int
    width: int
    resize: Literal["shortest", "longest", "squash"]
    interpolation: Literal["bicubic", "bilinear"]
    mean: Channels
    std: Channels
    fill: int = 0

    @property
    def side(self) -> int:
        """The longer side in pixels: a picture decoded to no less on its shorter side loses nothing."""
        return max(self.height, self.width)


@dataclass(frozen=True)
class Placement:
    """The size to which a whole picture is resized, and where in it the model's crop begins; negative: padded."""

    height: int
    width: int
    top: int
    left: int


def place(height: int, width: int, to: Preprocessing) -> Placement:
    """Where open_clip's transform puts a picture of `height` x `width` (torchvision's Resize and CenterCrop)."""
    if to.resize == "squash":
        return Placement(to.height, to.width, 0, 0)
    if to.resize == "shortest" and to.height == to.width:
        short = min(height, width)
        tall, wide = (int(to.height * side / short) for side in (height, width))
    else:
        ratios = height / to.height, width / to.width
        ratio = max(ratios) if to.resize == "longest" else min(ratios)
        tall, wide = (max(1, round(side / ratio)) for side in (height, width))
    return Placement(tall, wide, _offset(tall, to.height), _offset(wide, to.width))


def prepare(pixels: Pixels, height: int, width: int, to: Preprocessing) -> Pixels:
    """uint8 (to.height, to.width, 3) of RGB `pixels`, which show a picture of `height` x `width`, perhaps reduced."""
    where = place(height, width, to)
    if where.height * where.width > _LONG * to.height * to.width:
        pixels, where = _window(pixels, where, to)
    resized = _resize(pixels, where.height, where.width)
    top, left = max(where.top, 0), max(where.left, 0)
    crop = resized[top : top + to.height, left : left + to.width]
    if crop.shape[:2] == (to.height, to.width):
        return np.ascontiguousarray(crop)
    framed = np.full((to.height, to.width, 3), to.fill, np.uint8)
    down, across = max(-where.top, 0), max(-where.left, 0)
    framed[down : down + crop.shape[0], across : across + crop.shape[1]] = crop
    return framed


def _window(pixels: Pixels, where: Placement, to: Preprocessing) -> tuple[Pixels, Placement]:
    """The part of the picture around the crop, and where the crop lies in it, to within a pixel of the picture."""
    rows, tall, top = _span(pixels.shape[0], where.height, where.top, to.height)
    columns, wide, left = _span(pixels.shape[1], where.width, where.left, to.width)
    return pixels[rows, columns], Placement(tall, wide, top, left)


def _span(side: int, resized: int, start: int, wanted: int) -> tuple[slice, int, int]:
    """Of one direction: the pixels to keep, their number after resizing, and where the crop begins then."""
    scale = resized / side
    first = max(0, math.floor(start / scale) - _AROUND)
    last = min(side, math.ceil((start + wanted) / scale) + _AROUND)
    length = max(min(wanted, resized), round((last - first) * scale))
    return slice(first, last), length, start if start < 0 else min(round(start - first * scale), length - wanted)


def _offset(side: int, wanted: int) -> int:
    return round((side - wanted) / 2) if side >= wanted else -((wanted - side) // 2)


def _resize(pixels: Pixels, height: int, width: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    much = max(pixels.shape[0] / height, pixels.shape[1] / width) > _MUCH
    way = cv2.INTER_AREA if much else cv2.INTER_LINEAR
    resized: Pixels = cv2.resize(pixels, (width, height), interpolation=way)  # type: ignore[assignment]
    return resized
