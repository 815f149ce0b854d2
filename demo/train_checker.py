"""Trains the demo's checking model: which texts are true of a picture, and which shapes it shows.

It sees each scene once, beside texts that are true of it, the same with one shape changed, and the prompts of all
shapes. The world knows which text is true of which scene, so every pair of a batch is a question with an answer
(the sigmoid loss of SigLIP, Zhai et al. 2023), also where one text is true of several scenes.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actors.models.concepts import TEMPLATES
from demo.train_scorer import (
    ATTRIBUTES,
    BYTES,
    PREPROCESS,
    corpus,
    learn_merges,
    measure,
    normalised,
    optimise,
    save,
    shrunk,
    write_merges,
)
from demo.world import LANGUAGES, SHAPES, Attribute, Group, Language, Scene, random_scene

if TYPE_CHECKING:
    import torch

CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 20, "head_width": 40, "patch_size": None},
    "text_cfg": {"context_length": 20, "vocab_size": 994, "width": 128, "heads": 4, "layers": 2},
    "init_logit_scale": 2.3,
    "init_logit_bias": -3.0,
}
SIDE: int = CONFIG["vision_cfg"]["image_size"]
DRAWN = (96, 128, 160, 192, 256)  # pixels a side before they are shrunk, as a decoder at reduced scale gives them
SEED = 3 * 2**42  # neither the scorer's scenes nor a log's
SCENES = 64  # of a batch
PROMPTS = 2  # of a batch, a shape and language
NEIGHBOURS: tuple[Attribute | None, ...] = ("shape", "shape", None)  # what else a scene has in a batch; null: anything


@dataclass(frozen=True)
class Claim:
    """What a text says: these groups and no others, or (`shape`) that there is one of this shape."""

    text: str
    groups: tuple[Group, ...] = ()
    sizes: bool = False
    background: str | None = None
    shape: str | None = None

    def true_of(self, scene: Scene) -> bool:
        """Whether the scene is as the text says."""
        if self.shape is not None:
            return any(group.shape == self.shape for group in scene.groups)
        if self.background not in (None, scene.background):
            return False
        return _kinds(self.groups, self.sizes) == _kinds(scene.groups, self.sizes)


def train(folder: Path, steps: int, seed: int = SEED, scenes: int = SCENES) -> None:
    """Write config, merges and float16 weights of a model trained for `steps` batches of so many new scenes."""
    import open_clip
    import torch

    from actors.models.open_clip_model import load_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    texts = corpus(seed, 2000) + [
        text for language in LANGUAGES for shape in SHAPES for text in _named(shape, language)
    ]
    write_merges(folder / "bpe_simple_vocab.txt.gz", learn_merges(texts, CONFIG["text_cfg"]["vocab_size"] - BYTES))
    told = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(told, indent=1) + "\n")
    torch.manual_seed(seed)
    model = open_clip.CLIP(**CONFIG)
    _fit(model, load_tokenizer(folder), steps, random.Random(seed), scenes)
    save(model, folder / "open_clip_model.safetensors")


def draw_batch(rng: random.Random, scenes: int) -> tuple[list[Scene], list[Claim]]:
    """Scenes in groups of one and its edits; a true text each, one of another shape each, and prompts."""
    drawn: list[Scene] = []
    while len(drawn) < scenes:
        first = random_scene(rng)
        drawn += [first, *(_edited(first, rng, attribute) for attribute in NEIGHBOURS)]
    said = [_claim(rng, scene) for scene in drawn]
    said += [_claim(rng, scene.edited(rng, "shape")) for scene in drawn]
    named = [
        Claim(rng.choice(_named(shape, language)), shape=shape)
        for shape in SHAPES
        for language in LANGUAGES
        for _ in range(PROMPTS)
    ]
    return drawn, said + named


def answers(scenes: Sequence[Scene], claims: Sequence[Claim]) -> NDArray[np.bool_]:
    """Which texts are true of which scenes, (scenes, claims)."""
    return np.array([[claim.true_of(scene) for claim in claims] for scene in scenes])


def loss_of(model: Any, pixels: torch.Tensor, tokens: torch.Tensor, truth: NDArray[np.bool_]) -> torch.Tensor:
    """The sigmoid loss over all pairs, a scene's sum; bfloat16 where torch finds it precise enough."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits, normalize

    with torch.autocast("cpu", torch.bfloat16):
        images, texts = model.visual(pixels), model.encode_text(tokens)
    cosines = normalize(images.float(), dim=1) @ normalize(texts.float(), dim=1).T
    logits = model.logit_scale.exp() * cosines + model.logit_bias
    target = torch.from_numpy(truth).float()
    return binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(pixels)


def _edited(scene: Scene, rng: random.Random, attribute: Attribute | None) -> Scene:
    return scene.edited(rng, rng.choice(ATTRIBUTES) if attribute is None else attribute)


def _kinds(groups: Sequence[Group], sizes: bool) -> list[tuple[str, str, int, str]]:
    return sorted((one.colour, one.shape, one.count, one.size if sizes else "") for one in groups)


def _claim(rng: random.Random, scene: Scene) -> Claim:
    language = rng.choice(LANGUAGES)
    if rng.random() < 0.35:
        return Claim(scene.query(rng, language), scene.groups)
    return Claim(scene.describe(rng, language), scene.groups, True, scene.background)


def _named(shape: str, language: Language) -> list[str]:
    word = SHAPES[shape][1] if language == "zh" else f"a {shape}"
    return [template.format(word) for template in TEMPLATES[language]]


def _fit(model: Any, tokenizer: Any, steps: int, rng: random.Random, scenes: int) -> None:
    import torch

    optimiser, pace = optimise(model, steps)
    model.visual.to(memory_format=torch.channels_last)
    model.train()
    started = time.monotonic()
    for step in range(steps):
        drawn, claims = draw_batch(rng, scenes)
        pixels = np.stack([shrunk(scene.draw(rng.choice(DRAWN)), SIDE) for scene in drawn])
        tokens = tokenizer([claim.text for claim in claims])
        loss = loss_of(model, normalised(pixels, rng), tokens, answers(drawn, claims))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        pace.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}/{steps} loss {loss.item():.3f} {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """`python -m demo.train_checker FOLDER`: train, save, measure, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=4_000)
    asked = parser.parse_args()
    train(asked.folder, asked.steps)
    print(json.dumps(measure(asked.folder), indent=1))


if __name__ == "__main__":
    main()
