"""What is held against people: a model's pair scores, and the scores that need no model to be had."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from actors.models.encoder import Encoder, Vectors
from actors.models.files import FoundModel
from actors.pictures.decode import Picture, decode
from actors.pictures.look import Looking
from bench.alignment.judgements import Pair, Photo
from filters.recipe import Pictures

PREFIX = "A photo depicts "
"""What CLIPScore's code sets before a caption; a curation scores the text as it is."""

BATCH = 256

_WORD = re.compile(r"\w+")


def model_scores(encoder: Encoder, found: FoundModel, folder: Path, pairs: Sequence[Pair]) -> dict[str, list[float]]:
    """The cosine of each pair, and CLIPScore of it, by the name of the score; `encoder` is `found`, loaded.

    Pictures are decoded and fitted as the look stage does it, and the vectors are those that `select` reads. CLIPScore
    is 2.5 max(cosine, 0) of the caption behind PREFIX: the factor changes no rank, the prefix and the 0 do.
    """
    files, captions = sorted({pair.file for pair in pairs}), sorted({pair.caption for pair in pairs})
    pictures = dict(zip(files, _pictures(encoder, found, [folder / "photos" / file for file in files]), strict=True))
    bare = dict(zip(captions, _texts(encoder, captions), strict=True))
    prefixed = dict(zip(captions, _texts(encoder, [PREFIX + caption for caption in captions]), strict=True))
    return {
        "cosine": [float(pictures[pair.file] @ bare[pair.caption]) for pair in pairs],
        "CLIPScore": [2.5 * max(float(pictures[pair.file] @ prefixed[pair.caption]), 0.0) for pair in pairs],
    }


def word_overlap(pairs: Sequence[Pair], photos: Sequence[Photo]) -> list[float]:
    """The best F1 of a caption's words with those of one of people's other captions of the picture: no oracle.

    The caption itself is not compared with: by CLIPScore's code too, a caption is no reference for itself.
    """
    written = {photo.file: photo.captions for photo in photos}
    return [
        max((_shared(pair.caption, other) for other in written[pair.file] if other != pair.caption), default=0.0)
        for pair in pairs
    ]


def rate_by_mean(pairs: Sequence[Pair], scores: Sequence[float]) -> Mapping[float, float]:
    """The mean score of the pairs of each mean rating."""
    held: dict[float, list[float]] = {}
    for pair, score in zip(pairs, scores, strict=True):
        held.setdefault(float(np.mean(pair.ratings)), []).append(score)
    return {rating: float(np.mean(held[rating])) for rating in sorted(held)}


def _shared(one: str, other: str) -> float:
    mine, theirs = set(_WORD.findall(one.lower())), set(_WORD.findall(other.lower()))
    both = len(mine & theirs)
    return 2 * both / (len(mine) + len(theirs)) if both else 0.0


def _pictures(encoder: Encoder, found: FoundModel, files: Sequence[Path]) -> Vectors:
    """Unit vectors of photos; ValueError for one that does not decode."""
    looking, vectors = Looking(Pictures(), (found,)), [np.empty((0, encoder.width), np.float32)]
    for start in range(0, len(files), BATCH):
        fitted = []
        for file in files[start : start + BATCH]:
            picture = decode(file.read_bytes(), looking.pictures.max_pixels, looking.scale_to)
            if not isinstance(picture, Picture):
                raise ValueError(f"the photo {file} does not decode: {picture.detail}")
            fitted.append(encoder.fit(picture.pixels, picture.height, picture.width))
        vectors.append(encoder.encode_pictures(fitted))
    return np.concatenate(vectors)


def _texts(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    pieces = [encoder.encode_texts(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
    return np.concatenate([np.empty((0, encoder.width), np.float32), *pieces])
