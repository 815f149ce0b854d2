"""Trains the demo's scoring model on scenes of the world that the demo's log never shows."""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo.world import BACKGROUNDS, COLOURS, COUNTS, LANGUAGES, SHAPES, SIZES, Attribute, Language, Scene, random_scene

if TYPE_CHECKING:
    import torch

CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32, "patch_size": None},
    "text_cfg": {"context_length": 20, "vocab_size": 844, "width": 128, "heads": 4, "layers": 2},
}
PREPROCESS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}
BYTES = 514  # tokens that no merge makes: 256 bytes, each also as a word's end, and two marks
MERGES = CONFIG["text_cfg"]["vocab_size"] - BYTES
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)
CHINESE = sorted(
    {colour[0] for colour in COLOURS.values()}
    | {background[0] for background in BACKGROUNDS.values()}
    | {size[0] for size in SIZES.values()}
    | {shape[1] for shape in SHAPES.values()}
    | {count[1] for count in COUNTS.values()}
    | {"背景", "上的", "和", "，", "有"}
    | {"一张", "的照片", "的图片"},  # of actors.models.concepts.TEMPLATES
    key=lambda word: (-len(word), word),
)
BRIEF: tuple[Attribute, ...] = ("colour", "shape", "count")  # what a query speaks of
DIGITS = "0123456789"
GROUP = 4  # a scene and three edits of it
SEED = 2**40  # far from the demo log's small seeds: no scene is shared


@dataclass(frozen=True)
class Lesson:
    """Groups of a scene and edits of it; `pixels` uint8 (n, 64, 64, 3); brief: its texts are queries."""

    scenes: list[Scene]
    brief: list[bool]
    pixels: NDArray[np.uint8]


def train(folder: Path, scenes: int, steps: int, seed: int = SEED, batch: int = 64) -> None:
    """Write config, merges and float16 weights of a model trained on `scenes` scenes for `steps` steps."""
    import open_clip
    import torch

    from actors.models.open_clip_model import load_tokenizer

    folder.mkdir(parents=True, exist_ok=True)
    write_merges(folder / "bpe_simple_vocab.txt.gz", learn_merges(corpus(seed, 2000), MERGES))
    told = {"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(told, indent=1) + "\n")
    torch.manual_seed(seed)
    model = open_clip.CLIP(**CONFIG)
    tokenizer = load_tokenizer(folder)
    _fit(model, tokenizer, make_lesson(scenes, seed), steps, batch, seed)
    save(model, folder / "open_clip_model.safetensors")


def make_lesson(scenes: int, seed: int) -> Lesson:
    """`scenes` scenes in groups of four, drawn at several sizes as a decoder at reduced scale would."""
    rng = random.Random(seed)
    drawn: list[Scene] = []
    brief: list[bool] = []
    while len(drawn) < scenes:
        first, is_brief = random_scene(rng), rng.random() < 0.3
        edits = [first.edited(rng, rng.choice(BRIEF if is_brief else ATTRIBUTES)) for _ in range(GROUP - 1)]
        drawn += [first, *edits]
        brief += [is_brief] * GROUP
    side = CONFIG["vision_cfg"]["image_size"]
    pixels = [shrunk(scene.draw(rng.choice((64, 96, 128, 160))), side) for scene in drawn]
    return Lesson(drawn, brief, np.stack(pixels))


def learn_merges(texts: Iterable[str], count: int) -> list[tuple[str, str]]:
    """`count` byte-pair merges, most frequent pair first (Sennrich et al. 2016), in open_clip's byte symbols.

    Chinese is cut into the world's words first, so that no merge joins the end of one to the start of the next.
    When every word is one token, pairs of digits fill up: the tokenizer reads digits one by one, so they never apply.
    """
    from open_clip.tokenizer import SimpleTokenizer

    pattern = SimpleTokenizer().pat
    runs = Counter(run for text in texts for run in pattern.findall(text.lower()))
    words: Counter[tuple[str, ...]] = Counter()
    for run, times in runs.items():
        for word in _words(run):
            words[word] += times
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair[0], pair[1]] += times
        if not pairs:
            return (
                merges
                + [(a, b) for a in DIGITS for b in (*DIGITS, *(f"{d}</w>" for d in DIGITS))][: count - len(merges)]
            )
        merges.append(max(pairs, key=lambda pair: (pairs[pair], pair)))
        words = Counter({_merged(word, merges[-1]): times for word, times in words.items()})
    return merges


def write_merges(file: Path, merges: Sequence[tuple[str, str]]) -> None:
    """In the layout of open_clip's own file: a line of heading, then a pair a line; no time in the gzip."""
    lines = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    file.write_bytes(gzip.compress(lines.encode(), mtime=0))


def measure(folder: Path, scenes: int = 600, seed: int = 2**41) -> dict[str, float]:
    """ROC-AUC by language on fresh scenes as they are served, with the encoder that the flow uses.

    'match': true against another scene's text; 'one_attribute': true against the text of an edited scene;
    'query': a true query against another scene's text.
    """
    import io

    from actors.models.encoder import Encoder
    from actors.models.files import find_model
    from filters.recipe import Model

    rng, encoder = random.Random(seed), Encoder(find_model(Model(path=str(folder))))
    fresh = [random_scene(rng) for _ in range(scenes)]
    pixels = [np.asarray(Image.open(io.BytesIO(s.render())).convert("RGB")) for s in fresh]
    images = encoder.encode_pictures([encoder.fit(one, *one.shape[:2]) for one in pixels])
    figures: dict[str, float] = {}
    for language in LANGUAGES:
        true = _scores(encoder, images, [scene.describe(rng, language) for scene in fresh])
        other = _scores(encoder, images, [s.describe(rng, language) for s in fresh[1:] + fresh[:1]])
        edits = [scene.edited(rng, ATTRIBUTES[i % len(ATTRIBUTES)]) for i, scene in enumerate(fresh)]
        edited = _scores(encoder, images, [scene.describe(rng, language) for scene in edits])
        query = _scores(encoder, images, [scene.query(rng, language) for scene in fresh])
        figures[f"match_{language}"] = auc(true, other)
        figures[f"one_attribute_{language}"] = auc(true, edited)
        figures[f"query_{language}"] = auc(query, other)
    return figures


def auc(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann-Whitney)."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, "left") + np.searchsorted(ordered, positive, "right")
    return float(below.mean() / 2 / len(negative))


def _fit(model: Any, tokenizer: Any, lesson: Lesson, steps: int, batch: int, seed: int) -> None:
    import torch

    optimiser, pace = optimise(model, steps)
    rng, started = random.Random(seed + 1), time.monotonic()
    model.train()
    for step in range(steps):
        pixels, texts = _draw_batch(lesson, rng, batch // GROUP)
        loss = _contrast(model, pixels, tokenizer(texts))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        pace.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)  # at most 100, as CLIP's own training does
        if step % 200 == 0 or step == steps - 1:
            print(f"step {step}/{steps} loss {loss.item():.3f} {time.monotonic() - started:.0f} s", flush=True)


def optimise(model: Any, steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW, and its pace over `steps` steps: a short warm-up, then a cosine to nothing."""
    import torch

    plain = [p for p in model.parameters() if p.ndim < 2]
    heavy = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": heavy, "weight_decay": 0.05}]
    optimiser = torch.optim.AdamW(groups, lr=1.2e-3, betas=(0.9, 0.98))
    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share(step, steps))


def normalised(pixels: NDArray[np.uint8], rng: random.Random) -> torch.Tensor:
    """Pictures (n, h, w, 3) as the model takes them (n, 3, h, w), each a little brighter or darker."""
    import torch

    lit = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    light = torch.tensor([rng.uniform(0.9, 1.1) for _ in pixels]).view(-1, 1, 1, 1)
    mean, std = (torch.tensor(PREPROCESS[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return ((lit * light).clamp(0, 1) - mean) / std


def _draw_batch(lesson: Lesson, rng: random.Random, groups: int) -> tuple[torch.Tensor, list[str]]:
    firsts = rng.sample(range(0, len(lesson.scenes), GROUP), groups)
    rows = [first + place for first in firsts for place in range(GROUP)]
    texts = [_text(lesson, row, rng) for row in rows]
    return normalised(lesson.pixels[rows], rng), texts


def _text(lesson: Lesson, row: int, rng: random.Random) -> str:
    language: Language = rng.choice(LANGUAGES)
    scene = lesson.scenes[row]
    return scene.query(rng, language) if lesson.brief[row] else scene.describe(rng, language)


def _contrast(model: Any, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    import torch
    from torch.nn.functional import cross_entropy

    images, texts, scale = model(pixels, tokens)
    logits, target = scale * images @ texts.T, torch.arange(len(pixels))
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def _share(step: int, steps: int) -> float:
    """Share of the learning rate: 5 % of warm-up, then a cosine to nothing."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.5 * (1 + float(np.cos(np.pi * max(0, step - warm) / max(1, steps - warm)))))


def save(model: Any, file: Path) -> None:
    """The weights in half precision."""
    from safetensors.torch import save_file

    half = {n: (t.half() if t.is_floating_point() else t).contiguous() for n, t in model.state_dict().items()}
    save_file(half, file)


def _scores(encoder: Any, images: NDArray[np.float32], texts: list[str]) -> NDArray[np.float32]:
    scores: NDArray[np.float32] = (images * encoder.encode_texts(texts)).sum(1)
    return scores


def corpus(seed: int, scenes: int) -> list[str]:
    """Descriptions and queries of so many scenes, in both languages."""
    rng, texts = random.Random(seed), []
    for _ in range(scenes):
        scene = random_scene(rng)
        for language in LANGUAGES:
            texts += [scene.describe(rng, language), scene.query(rng, language)]
    return texts


def _words(run: str) -> Iterator[tuple[str, ...]]:
    """The words of a run of letters, as byte symbols; the last letter of the run carries the end mark."""
    from open_clip.tokenizer import bytes_to_unicode

    symbols = bytes_to_unicode()
    pieces = re.findall("|".join(CHINESE), run) if run > "\u2e80" else [run]
    for place, piece in enumerate(pieces):
        letters = [symbols[byte] for byte in piece.encode()]
        if place == len(pieces) - 1:
            letters[-1] += "</w>"
        yield tuple(letters)


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined, place = [], 0
    while place < len(word):
        if word[place : place + 2] == pair:
            joined.append(pair[0] + pair[1])
            place += 2
        else:
            joined.append(word[place])
            place += 1
    return tuple(joined)


def shrunk(picture: Image.Image, side: int) -> NDArray[np.uint8]:
    """The picture at the size that a model looks at."""
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def main() -> None:
    """`python -m demo.train_scorer FOLDER`: train, save, measure, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scenes", type=int, default=24_000)
    parser.add_argument("--steps", type=int, default=4_000)
    asked = parser.parse_args()
    train(asked.folder, asked.scenes, asked.steps)
    print(json.dumps(measure(asked.folder), indent=1))


if __name__ == "__main__":
    main()
