"""How far pair scores agree with people: `python -m bench.alignment [--model FOLDER ...] [--recipe R] [--json]`.

Kendall's tau of a model's cosines against what people said of photos and captions of Flickr8k, beside chance, the words
that a caption shares with other captions of the photo, and one expert against the others. Without --model and --recipe
a tiny model is trained here first: that shows that the measure works, not what a real model reaches.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from actors.models.encoder import Encoder
from actors.models.files import FoundModel, ModelMissing, find_model
from app.show import say, table
from bench.alignment.judgements import (
    DATA,
    Judged,
    Photo,
    data_folder,
    judged_names,
    load_crowd,
    load_experts,
    load_photos,
)
from bench.alignment.scores import model_scores, rate_by_mean, word_overlap
from bench.alignment.small import train_small
from bench.alignment.tau import Tau, agreement, chance, tau
from bench.calibrate_chart import Axis, Series, chart
from bench.report import machine
from filters.load import load_recipe
from filters.recipe import Model, RecipeError

SAMPLES = 20_000
"""Of the small model's training: about two minutes of one core."""

NO_DATA = f"""There are no judgements here: {DATA} names no folder with data/alignment and data/photos.
They are Flickr8k's (Hodosh et al. 2013): research only, and not part of Zeromill."""


@dataclass(frozen=True)
class Told:
    """One line of the answer: how far a score agrees with a set of judgements; taus are times 100."""

    judgements: str
    score: str
    tau: float
    low: float | None
    high: float | None
    pairs: int
    pictures: int


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured; 1 without judgements or without the model that was asked for."""
    options = _options(arguments)
    folder = data_folder()
    if folder is None:
        say(NO_DATA)
        return 1
    photos = load_photos(folder)
    sets = (load_experts(folder, photos), load_crowd(folder, photos))
    say(machine())
    for judged in sets:
        say(_covered(judged))
    with tempfile.TemporaryDirectory(prefix="zeromill-alignment-") as name:
        try:
            models = _models(options) or [_small(folder, Path(name), photos, sets, options.samples)]
        except (ModelMissing, RecipeError) as missing:
            say(str(missing))
            return 1
        _tell(list(_measure(folder, photos, sets, models, options)), options.json)
    say("Published, on all of either set: CLIPScore with ViT-B/32 has tau-c 51.2 and tau-b 34.4 (arXiv 2104.08718).")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    asked = argparse.ArgumentParser(prog="python -m bench.alignment", description=__doc__)
    asked.add_argument("--model", action="append", default=[], metavar="FOLDER", help="may be given several times")
    asked.add_argument("--recipe", metavar="R", help="all models of a recipe")
    asked.add_argument("--device", choices=("cpu", "cuda"), help="default: a card where there is one")
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    asked.add_argument("--chart", type=Path, metavar="F.svg", help="draw the first model's scores by the experts'")
    asked.add_argument("--samples", type=int, default=SAMPLES, help=argparse.SUPPRESS)  # few, for the test
    return asked.parse_args(arguments)


def _models(options: argparse.Namespace) -> list[tuple[str, FoundModel]]:
    asked = [(folder, Model(path=folder)) for folder in options.model]
    if options.recipe is not None:
        asked += [(f"{options.recipe}:{model.name}", model) for model in load_recipe(options.recipe).models]
    return [(name, find_model(model)) for name, model in asked]


def _small(
    folder: Path, place: Path, photos: Sequence[Photo], sets: Sequence[Judged], samples: int
) -> tuple[str, FoundModel]:
    """The tiny model trained here, and what it is called."""
    import torch

    torch.set_num_threads(1)
    said = {pair.caption for judged in sets for pair in judged.pairs}
    seen = train_small(folder, place / "small", photos, judged_names(folder), said, samples, _progress)
    say(
        f"No model was given: a tiny one was trained here on {seen} photos that nobody judged, in {samples} samples.\n"
        "Its figures show that the measure works; a model with pretrained weights is named by --model or --recipe."
    )
    return f"tiny, {seen} photos", find_model(Model(path=str(place / "small")))


def _progress(step: int, steps: int, loss: float) -> None:
    if step == steps or step % max(steps // 10, 1) == 0:
        say(f"  trained {step}/{steps}, loss {loss:.2f}")


def _covered(judged: Judged) -> str:
    left_out = f"; {judged.own} written for the photo itself are left out" if judged.own else ""
    judgements = sum(len(pair.ratings) for pair in judged.pairs)
    return (
        f"{judged.name}: {len(judged.pairs) + judged.own} of the {judged.listed} pairs in the file have their photo "
        f"here{left_out}: {judgements} judgements of {len(judged.pairs)} pairs, {judged.pictures} photos"
    )


def _measure(
    folder: Path,
    photos: Sequence[Photo],
    sets: Sequence[Judged],
    models: Sequence[tuple[str, FoundModel]],
    options: argparse.Namespace,
) -> Iterator[Told]:
    for judged in sets:
        yield _line(judged, "chance", chance(judged))
        yield _line(judged, "shared words", agreement(word_overlap(judged.pairs, photos), judged))
    yield _people(sets[0])
    for place, (name, found) in enumerate(models):
        encoder = Encoder(found, options.device, threads=1)
        for judged in sets:
            scored = model_scores(encoder, found, folder, judged.pairs)
            for kind, scores in scored.items():
                yield _line(judged, f"{name}: {kind}", agreement(scores, judged))
            if options.chart is not None and place == 0 and judged is sets[0]:
                options.chart.write_text(_draw(name, judged, scored["cosine"]), encoding="utf-8")


def _line(judged: Judged, score: str, found: Tau) -> Told:
    return Told(judged.name, score, found.value, found.low, found.high, len(judged.pairs), judged.pictures)


def _people(experts: Judged) -> Told:
    """Each expert's ratings against those of the other two, the mean of the three taus: what a score can reach."""
    ratings = np.array([pair.ratings for pair in experts.pairs])
    found = []
    for one in range(ratings.shape[1]):
        others = np.delete(ratings, one, axis=1)
        found.append(tau(np.repeat(ratings[:, one], others.shape[1]), others.ravel(), experts.variant))
    mean = float(np.mean(found))
    return Told(experts.name, "one expert, by the others", mean, None, None, len(experts.pairs), experts.pictures)


def _draw(name: str, judged: Judged, scores: Sequence[float]) -> str:
    """Scores by mean rating as dots, and the mean score of each rating as a line."""
    low, high = min(scores), max(scores)
    across = Axis("mean of three experts", 0.9, 4.1, (1, 2, 3, 4))
    up = Axis("cosine", low, high, tuple(round(float(tick), 3) for tick in np.linspace(low, high, 5)))
    dots = [(float(np.mean(pair.ratings)), score) for pair, score in zip(judged.pairs, scores, strict=True)]
    means = list(rate_by_mean(judged.pairs, scores).items())
    title = f"{name}: cosine of {len(judged.pairs)} pairs, by experts"
    return chart(title, across, up, [Series("a pair", dots, dots=True), Series("mean of a rating", means)], [])


def _tell(lines: Sequence[Told], as_json: bool) -> None:
    if as_json:
        for line in lines:
            print(json.dumps(asdict(line)))
        return
    rows = [
        (
            one.judgements,
            one.score,
            round(one.tau, 1),
            "" if one.low is None else f"{one.low:.1f} to {one.high:.1f}",
            one.pairs,
            one.pictures,
        )
        for one in lines
    ]
    table(["judgements", "score", "tau x 100", "95 %", "pairs", "photos"], rows)


if __name__ == "__main__":
    sys.exit(main())
