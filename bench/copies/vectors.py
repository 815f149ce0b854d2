"""Vectors like those of real pictures: in a cone, of topics and scenes of very different sizes, with planted pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from actors.copies.similar import Floats

TOPICS, A_SCENE = 2_000, 4
"""Topics, and vectors to a scene on the mean; both are of sizes that fall off by rank."""

CONE, TOPIC, SCENE, OWN = 0.75, 0.5, 0.42, 0.40
"""Weights of what all share, of the topic, of the scene and of the picture itself.

They give what CLIP gives of pictures from the web: a mean cosine of 0.5 between any two, and of 0.86 with the nearest
of 20,000.
"""

PLANTED = 50  # one vector in so many is a near copy of another
NEAREST, FARTHEST = 0.999, 0.95
"""Cosines of planted pairs, evenly between."""

CHUNK = 65_536


def realistic(count: int, width: int, seed: int = 0) -> Floats:
    """Unit vectors (count, width) in random order; what is noise has a spectrum that falls off as that of CLIP does."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(width, width)))[0].astype(np.float32)
    scales = np.arange(1, width + 1, dtype=np.float32) ** -0.5
    shape = turn * (scales / np.linalg.norm(scales))

    def noise(rows: int) -> Floats:
        drawn: Floats = rng.standard_normal((rows, width), dtype=np.float32) @ shape.T
        return drawn

    topics, scenes = noise(min(TOPICS, count)), noise(max(1, count // A_SCENE))
    of_scene = rng.choice(len(topics), len(scenes), p=_falling(len(topics), 0.8))
    scenes = CONE * turn[:, width // 2] + TOPIC * topics[of_scene] + SCENE * scenes
    of = rng.choice(len(scenes), count, p=_falling(len(scenes), 0.6))
    vectors = np.empty((count, width), np.float32)
    for start in range(0, count, CHUNK):
        some = of[start : start + CHUNK]
        vectors[start : start + CHUNK] = _unit(scenes[some] + OWN * noise(len(some)))
    ones, others = rng.permutation(count)[: count // PLANTED * 2].reshape(2, -1)
    cosines = rng.uniform(FARTHEST, NEAREST, (len(ones), 1)).astype(np.float32)
    aside = noise(len(ones))
    aside = _unit(aside - (aside * vectors[ones]).sum(1, keepdims=True) * vectors[ones])
    vectors[others] = cosines * vectors[ones] + np.sqrt(1 - cosines**2) * aside
    return vectors


def _falling(count: int, power: float) -> NDArray[np.float64]:
    """Shares that fall off by rank."""
    shares: NDArray[np.float64] = np.arange(1.0, count + 1.0) ** -power
    divided: NDArray[np.float64] = shares / shares.sum()
    return divided


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
