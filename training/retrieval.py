"""Recall of pictures by texts and of texts by pictures, as the Zero benchmark counts it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CUTS = (1, 5, 10)
ROWS = 1024  # rows of the score matrix that are in memory at a time


def recalls(images: NDArray[np.float32], texts: NDArray[np.float32], owners: NDArray[np.int64]) -> dict[str, float]:
    """R@1, R@5, R@10 both ways and their mean `r_mean` (R@M), as shares from 0 to 1.

    `images` (n, d) and `texts` (m, d) are unit vectors, `owners` (m,) says which picture a text belongs to.
    A picture finds its texts where any of them is among the first k (R2D2, train_r2d2_retrieval.py, itm_eval).
    A tie counts against the hit, so that a model that gives one answer to everything finds nothing.
    """
    found = {"image_to_text": _text_ranks(images, texts, owners), "text_to_image": _image_ranks(images, texts, owners)}
    figures = {f"{way}_r{k}": float((ranks < k).mean()) for way, ranks in found.items() for k in CUTS}
    return figures | {"r_mean": sum(figures.values()) / len(figures)}


def _text_ranks(
    images: NDArray[np.float32], texts: NDArray[np.float32], owners: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each picture that has a text: how many texts of others score at least as well as its own best."""
    ranks = []
    for start in range(0, len(images), ROWS):
        scores = images[start : start + ROWS] @ texts.T
        own = owners[None, :] == np.arange(start, start + len(scores))[:, None]
        best = np.where(own, scores, -np.inf).max(1)
        ranks.append(((scores >= best[:, None]) & ~own).sum(1)[own.any(1)])
    return np.concatenate(ranks)


def _image_ranks(
    images: NDArray[np.float32], texts: NDArray[np.float32], owners: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each text: how many other pictures score at least as well as its own."""
    ranks = []
    for start in range(0, len(texts), ROWS):
        scores = texts[start : start + ROWS] @ images.T
        own = scores[np.arange(len(scores)), owners[start : start + ROWS]]
        ranks.append((scores >= own[:, None]).sum(1) - 1)
    return np.concatenate(ranks)
