"""How well wrong captions are told from true ones in the rendered world, where the truth is known.

`python -m bench.words` draws scenes that nobody trained on, and holds texts against them as a run does: the objects
that a caption names by the zero-shot tags, its agreement with the picture by the cosine, and both.
"""

from __future__ import annotations

import argparse
import io
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from actors.models.concepts import concept_vectors, prompts
from actors.models.encoder import Encoder
from actors.models.files import find_model
from actors.models.objects import ObjectsJob, ObjectTagger, Seen
from demo.train_scorer import ATTRIBUTES, auc
from demo.world import LANGUAGES, Language, Scene, random_scene
from filters.objects import load_objects
from filters.recipe import Model

MODEL = "demo/checker"
VOCABULARY = "demo/objects.tsv"
CHOOSING = 5 * 2**43
"""Seed of the scenes that the bounds below were chosen on."""
TELLING = 7 * 2**43
"""Seed of those that figures are told of; both are far from what models were trained on and logs show."""
PRESENCE = 0.9
"""Least presence of an object that a caption names."""
AGREEMENT = 0.05
"""Least cosine of a caption and its picture."""

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


class Judge:
    """A model, and the bounds by which it judges texts."""

    def __init__(self, model: str = MODEL, min_presence: float = PRESENCE, min_score: float = AGREEMENT) -> None:
        found = find_model(Model(path=model))
        self.encoder, self.bounds = Encoder(found), (min_presence, min_score)
        self.objects = load_objects(VOCABULARY)
        with tempfile.TemporaryDirectory() as folder:
            self._seen = Seen(ObjectTagger(found)(ObjectsJob(VOCABULARY, f"{folder}/objects.parquet")))

    def presences(self, pictures: Floats, texts: Sequence[str]) -> Floats:
        """The least presence of what each text names, 1 where it names nothing."""
        held = self._seen.held(self.objects.mentions(texts), pictures)
        found: Floats = pc.fill_null(held.column("presence"), 1.0).to_numpy(zero_copy_only=False)
        return found

    def cosines(self, pictures: Floats, texts: Sequence[str]) -> Floats:
        """Of each text with its picture."""
        found: Floats = (pictures * self.encoder.encode_texts(texts)).sum(1)
        return found

    def rejects(self, pictures: Floats, texts: Sequence[str]) -> dict[str, Flags]:
        """Which texts go, by each check and by both."""
        absent = self.presences(pictures, texts) < self.bounds[0]
        apart = self.cosines(pictures, texts) < self.bounds[1]
        return {"objects": absent, "agreement": apart, "both": absent | apart}


@dataclass(frozen=True)
class World:
    """Scenes and the vectors of their pictures as the demo's site serves them."""

    scenes: list[Scene]
    pictures: Floats
    rng: random.Random


def draw(encoder: Encoder, scenes: int, seed: int) -> World:
    """New scenes of this seed."""
    rng = random.Random(seed)
    drawn = [random_scene(rng) for _ in range(scenes)]
    pixels = [np.asarray(Image.open(io.BytesIO(scene.render())).convert("RGB")) for scene in drawn]
    return World(drawn, encoder.encode_pictures([encoder.fit(one, *one.shape[:2]) for one in pixels]), rng)


def texts_of(world: World, language: Language) -> dict[str, list[str]]:
    """Texts for each scene: `true` ones, captions and queries in turn as a log has them, and false ones.

    `absent`: a true caption but for one shape, which the scene has not. `mismatched`: a text of another scene, as in
    half of the demo's log.
    """
    rng = world.rng
    return {
        "true": [_said(scene, rng, language, place) for place, scene in enumerate(world.scenes)],
        "captions": [scene.describe(rng, language) for scene in world.scenes],
        "absent": [without(scene, rng).describe(rng, language) for scene in world.scenes],
        "mismatched": [_said(random_scene(rng), rng, language, place) for place in range(len(world.scenes))],
    }


def edits_of(world: World, language: Language) -> dict[str, list[str]]:
    """By attribute a caption of each scene that is wrong in nothing but that."""
    rng = world.rng
    return {
        attribute: [scene.edited(rng, attribute).describe(rng, language) for scene in world.scenes]
        for attribute in ATTRIBUTES
    }


def without(scene: Scene, rng: random.Random) -> Scene:
    """The scene with one shape changed to one that it has not."""
    there = {group.shape for group in scene.groups}
    while True:
        edited = scene.edited(rng, "shape")
        if any(group.shape not in there for group in edited.groups):
            return edited


def rejected(judge: Judge, world: World, texts: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """By the kind of text, the share that each check rejects."""
    return {kind: _shares(judge.rejects(world.pictures, said)) for kind, said in texts.items()}


def precision_recall(wrong: float, right: float) -> tuple[float, float]:
    """Of what is rejected, where equally many are wrong and right, and these shares of them go."""
    return wrong / max(1e-12, wrong + right), wrong


def presence_rules(judge: Judge, world: World, language: Language) -> dict[str, float]:
    """By what an object's cosine is held against: ROC-AUC of true captions against those that name an absent shape."""
    groups = prompts(judge.objects.concepts, None)
    encoded = judge.encoder.encode_texts([text for group in groups for text in group])
    cosines = world.pictures @ concept_vectors(encoded, groups).T
    texts = texts_of(world, language)
    ids = [one.id for one in judge.objects.concepts]
    told = {}
    for name, rule in _RULES.items():
        values = rule(cosines, judge.encoder.scale)
        true, absent = (_least(values, ids, judge.objects.mentions(texts[kind])) for kind in ("captions", "absent"))
        told[name] = auc(true, absent)
    return told


def _softmax(cosines: Floats, scale: float) -> Floats:
    powers = np.exp(scale * (cosines - cosines.max(1, keepdims=True)))
    shares: Floats = powers / powers.sum(1, keepdims=True)
    return shares


def _rank(cosines: Floats, scale: float) -> Floats:
    ranks: Floats = cosines.argsort(1).argsort(1).astype(np.float32)
    return ranks


_RULES: Mapping[str, Callable[[Floats, float], Floats]] = {
    "the cosine itself": lambda cosines, _: cosines,
    "softmax over the list": _softmax,
    "less the best of the list": lambda cosines, _: cosines - cosines.max(1, keepdims=True),
    "rank in the list": _rank,
    "less the mean of the list": lambda cosines, _: cosines - cosines.mean(1, keepdims=True),
}


def _least(values: Floats, ids: Sequence[str], mentions: Sequence[Sequence[str]]) -> Floats:
    least = [min(row[ids.index(one)] for one in named) for row, named in zip(values, mentions, strict=True)]
    return np.array(least, np.float32)


def _said(scene: Scene, rng: random.Random, language: Language, place: int) -> str:
    return scene.query(rng, language) if place % 2 else scene.describe(rng, language)


def _shares(flags: Mapping[str, Flags]) -> dict[str, float]:
    return {check: float(gone.mean()) for check, gone in flags.items()}


def main() -> None:
    """`python -m bench.words`: the figures of docs/caption-checks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=TELLING)
    parser.add_argument("--presence", type=float, default=PRESENCE, help="least presence of an object")
    parser.add_argument("--agreement", type=float, default=AGREEMENT, help="least cosine")
    asked = parser.parse_args()
    judge = Judge(asked.model, asked.presence, asked.agreement)
    print(f"{asked.scenes} scenes of seed {asked.seed}, {asked.model}, bounds {asked.presence} and {asked.agreement}")
    world = draw(judge.encoder, asked.scenes, asked.seed)
    for language in LANGUAGES:
        texts = texts_of(world, language) | edits_of(world, language)
        _tell(language, rejected(judge, world, texts))
        for name, area in presence_rules(judge, world, language).items():
            print(f"  {language} an object's cosine, {name}: AUC {area:.3f}")


def _tell(language: Language, shares: Mapping[str, Mapping[str, float]]) -> None:
    for kind, by_check in shares.items():
        print(f"  {language} {kind:<10} rejected " + ", ".join(f"{one} {share:.3f}" for one, share in by_check.items()))
    for check in ("objects", "agreement", "both"):
        precision, recall = precision_recall(shares["mismatched"][check], shares["true"][check])
        print(f"  {language} mismatched texts by {check}: precision {precision:.3f}, recall {recall:.3f}")


if __name__ == "__main__":
    main()
