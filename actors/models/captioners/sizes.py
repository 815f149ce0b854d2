"""Pictures made no larger than a model or a server needs, in their own shape."""

from __future__ import annotations

import cv2
import numpy as np

from actors.models.prepare import Pixels


def within(pixels: Pixels, side: int) -> Pixels:
    """`pixels` (h, w, 3) with no side of more than `side` pixels, and none of less than one."""
    height, width = pixels.shape[:2]
    share = side / max(height, width)
    if share >= 1:
        return np.ascontiguousarray(pixels)
    size = max(1, round(width * share)), max(1, round(height * share))
    smaller: Pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return smaller
