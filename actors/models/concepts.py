"""Zero-shot tags: which concepts of a list the vector of a picture is nearest to, and how surely."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from filters.concepts import Concept

Floats = NDArray[np.float32]

ROWS = 4096  # pictures compared with all concepts at a time; bounds memory

# A bare word besides sentences: models that were trained on queries and tags have seen it more often.
TEMPLATES = {
    "en": ("{}", "a photo of {}", "a picture of {}"),
    "zh": ("{}", "一张{}的照片", "{}的图片"),
}


class ConceptError(Exception):
    """A list of concepts and a model that do not fit; the message says what to do."""


def prompts(concepts: Sequence[Concept], languages: Collection[str] | None) -> list[list[str]]:
    """Per concept the texts that stand for it, in those of English and Chinese that `languages` has; null: in both."""
    groups = []
    for concept in concepts:
        words = {"en": concept.en, "zh": concept.zh}
        spoken = [one for one in TEMPLATES if words[one] and (languages is None or one in languages)]
        if not spoken:
            known = ", ".join(languages or TEMPLATES)
            raise ConceptError(
                f"The concept {concept.id} has no words in a language of the model ({known}).\n"
                "Add them to the list, or give the model `en` or `zh` among its `languages`."
            )
        groups.append([template.format(words[one]) for one in spoken for template in TEMPLATES[one]])
    return groups


def concept_vectors(encoded: Floats, groups: Sequence[Sequence[str]]) -> Floats:
    """Unit vectors (concepts, width): the direction of the mean of each group's texts.

    `encoded` are the unit vectors of all texts of `groups`, as `prompts` gives them, one group after the other.
    """
    starts = np.cumsum([0, *(len(group) for group in groups[:-1])])
    sums = np.add.reduceat(encoded, starts, axis=0, dtype=np.float64)
    vectors: Floats = (sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)
    return vectors


def nearest(
    vectors: Floats, concepts: Floats, scale: float, bias: float, sigmoid: bool, top: int
) -> tuple[NDArray[np.int64], Floats]:
    """Indices and probabilities (n, top) of the `top` concepts (or all, where they are fewer) of each unit vector.

    The probability is a softmax over scale * cosine; with `sigmoid` (SigLIP) each concept has one of its own, of
    scale * cosine + bias. The most probable comes first, of equal ones that which stands first in the list.
    """
    top = min(top, len(concepts))
    places, chances = np.empty((len(vectors), top), np.int64), np.empty((len(vectors), top), np.float32)
    for start in range(0, len(vectors), ROWS):
        rows = slice(start, start + ROWS)
        logits = np.float32(scale) * (vectors[rows] @ concepts.T) + np.float32(bias)
        places[rows] = np.argsort(-logits, axis=1, kind="stable")[:, :top]
        chances[rows] = np.take_along_axis(_probabilities(logits, sigmoid), places[rows], 1)
    return places, chances


def _probabilities(logits: Floats, sigmoid: bool) -> Floats:
    if sigmoid:
        return np.float32(0.5) * (1 + np.tanh(logits / 2))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities: Floats = powers / powers.sum(1, keepdims=True)
    return probabilities
