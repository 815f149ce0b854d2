"""Trains the demo's captioner, a small CoCa that says in English or Chinese what a scene of the world shows."""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.train_scorer import BYTES, PREPROCESS, corpus, learn_merges, normalised, optimise, save, shrunk, write_merges
from demo.world import BACKGROUNDS, LANGUAGES, SHAPES, TEMPLATES, Language, Scene, random_scene

if TYPE_CHECKING:
    import torch

_TEXT = {"context_length": 24, "vocab_size": 844, "width": 128, "heads": 4}
CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 96,
        "layers": 4,
        "width": 128,
        "head_width": 32,
        "patch_size": 12,
        "output_tokens": True,
    },
    "text_cfg": _TEXT | {"layers": 1, "embed_cls": True, "output_tokens": True},
    "multimodal_cfg": _TEXT | {"layers": 3},
    "custom_text": True,
}
SIDE: int = CONFIG["vision_cfg"]["image_size"]
DRAWN = (96, 128, 160, 192)  # pixels a side before they are shrunk, as a decoder at reduced scale gives them
PROMPTS: dict[Language, str] = {"en": "english", "zh": "chinese"}
SEED = 5 * 2**43  # neither a log's scenes nor those of the other models
SCENES = 32  # of a batch; each is described in both languages


@dataclass(frozen=True)
class Lesson:
    """Scenes and `pixels` uint8 (n, SIDE, SIDE, 3) of each."""

    scenes: list[Scene]
    pixels: NDArray[np.uint8]


def train(folder: Path, scenes: int, steps: int, seed: int = SEED) -> None:
    """Write config, merges and float16 weights of a model trained on `scenes` scenes for `steps` batches."""
    import open_clip
    import torch

    from actors.models.open_clip_model import load_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    texts = corpus(seed, 2000) + list(PROMPTS.values()) * 2000
    write_merges(folder / "bpe_simple_vocab.txt.gz", learn_merges(texts, _TEXT["vocab_size"] - BYTES))
    told = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(told, indent=1) + "\n")
    torch.manual_seed(seed)
    model = open_clip.CoCa(**{name: told for name, told in CONFIG.items() if name != "custom_text"})
    torch.nn.init.normal_(model.text_decoder.text_projection, std=_TEXT["width"] ** -0.5)  # open_clip leaves it as is
    _fit(model, load_tokenizer(folder), make_lesson(scenes, seed), steps, random.Random(seed + 1))
    save(model, folder / "open_clip_model.safetensors")


def make_lesson(count: int, seed: int) -> Lesson:
    """`count` scenes, drawn at several sizes as a decoder at reduced scale would."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(count)]
    return Lesson(scenes, np.stack([shrunk(scene.draw(rng.choice(DRAWN)), SIDE) for scene in scenes]))


def true_captions(scene: Scene, language: Language) -> set[str]:
    """All that `Scene.describe` may say of it, without spaces."""
    background = BACKGROUNDS[scene.background][0] if language == "zh" else scene.background
    joint = " and " if language == "en" else "和"
    orders = [joint.join(one.words(language) for one in order) for order in itertools.permutations(scene.groups)]
    said = (
        template.format(things=things, background=background) for template in TEMPLATES[language] for things in orders
    )
    return {one.replace(" ", "") for one in said}


def shapes_named(caption: str, language: Language) -> set[str]:
    """The shapes that a caption names."""
    words = set(caption.replace(",", " ").split())
    if language == "zh":
        return {shape for shape, (_, name) in SHAPES.items() if name in caption}
    return {shape for shape, (plural, _) in SHAPES.items() if {shape, plural} & words}


def measure(folder: Path, scenes: int = 500, seed: int = 2**44 + 1) -> dict[str, float]:
    """Shares of fresh scenes, as they are served, whose greedy caption is true; by language.

    'all': every attribute of everything; 'shapes': the shapes that it names are those that are there.
    """
    from actors.models.captioners.finding import find_captioner
    from actors.models.captioners.loading import load_captioner
    from actors.models.captioners.protocol import Shown
    from filters.captioning import Captioner

    asked = Captioner(path=str(folder), prompts={str(language): text for language, text in PROMPTS.items()}, tokens=20)
    captioner, rng = load_captioner(find_captioner(asked), "cpu", 1), random.Random(seed)
    fresh = [random_scene(rng) for _ in range(scenes)]
    pixels = [np.asarray(Image.open(io.BytesIO(scene.render())).convert("RGB")) for scene in fresh]
    right: dict[str, list[bool]] = {f"{what}_{language}": [] for what in ("all", "shapes") for language in LANGUAGES}
    told = captioner.caption([Shown(number, one, *one.shape[:2]) for number, one in enumerate(pixels)])
    for scene, said in zip(fresh, told, strict=True):
        for language, one in zip(sorted(LANGUAGES), said if isinstance(said, tuple) else (), strict=True):
            right[f"all_{language}"].append(one.raw.replace(" ", "") in true_captions(scene, language))
            right[f"shapes_{language}"].append(shapes_named(one.raw, language) == {g.shape for g in scene.groups})
    return {name: sum(each) / len(each) for name, each in right.items()}


def _fit(model: Any, tokenizer: Any, lesson: Lesson, steps: int, rng: random.Random) -> None:
    import torch

    optimiser, pace = optimise(model, steps)
    model.train()
    started = time.monotonic()
    for step in range(steps):
        rows = rng.sample(range(len(lesson.scenes)), SCENES)
        texts = [f"{PROMPTS[one]} {lesson.scenes[row].describe(rng, one)}" for one in LANGUAGES for row in rows]
        flipped = lesson.pixels[rows, :, :: rng.choice((1, -1))]  # no description speaks of left and right
        loss = _wrongness(model, normalised(np.ascontiguousarray(flipped), rng), tokenizer(texts))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        pace.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step}/{steps} loss {loss.item():.3f} {time.monotonic() - started:.0f} s", flush=True)


def _wrongness(model: Any, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Mean surprise of each next token of `tokens`, rows by language and then by picture; not that of the prompt."""
    import torch
    from torch.nn.functional import cross_entropy

    with torch.autocast("cpu", torch.bfloat16):
        latent, seen = model._encode_image(pixels)
        latent, seen = (told.repeat(len(LANGUAGES), *[1] * (told.ndim - 1)) for told in (latent, seen))
        told = model(None, tokens, image_latent=latent, image_embs=seen)
    labels = told["labels"].clone()
    labels[:, 0] = model.pad_id
    return cross_entropy(told["logits"].float().flatten(0, 1), labels.flatten(), ignore_index=model.pad_id)


def main() -> None:
    """`python -m demo.train_captioner FOLDER`: train, save, measure, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=1_800)
    asked = parser.parse_args()
    train(asked.folder, asked.scenes, asked.steps)
    print(json.dumps(measure(asked.folder), indent=1))


if __name__ == "__main__":
    main()
