"""Zero-shot tags in both languages: the demo's model names the one thing of a drawn scene out of a list of all."""

import random
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from actors.models.concepts import concept_vectors, nearest, prompts
from actors.models.encoder import Encoder
from actors.models.files import find_model
from demo.world import COLOURS, SHAPES, Scene, random_scene
from filters.concepts import load_concepts
from filters.recipe import Model

SCENES = 120


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(find_model(Model(path="demo/scorer")))


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Each shows things of one colour and shape."""
    rng = random.Random(3 * 2**40)
    drawn: list[Scene] = []
    while len(drawn) < SCENES:
        scene = random_scene(rng)
        drawn += [scene] if len(scene.groups) == 1 else []
    return drawn


@pytest.fixture(scope="module")
def vectors(encoder: Encoder, scenes: list[Scene]) -> NDArray[np.float32]:
    pictures = [np.asarray(scene.draw(128)) for scene in scenes]
    return encoder.encode_pictures([encoder.fit(picture, 128, 128) for picture in pictures])


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The list of every colour with every shape."""
    lines = []
    for colour, shape in product(COLOURS, SHAPES):
        article = "an" if colour[0] in "aeiou" else "a"
        lines.append(f"{colour}-{shape}\t{article} {colour} {shape}\t一个{COLOURS[colour][0]}{SHAPES[shape][1]}")
    file = tmp_path_factory.mktemp("lists") / "things.tsv"
    file.write_text("\n".join(["# id: things", "# version: 1", *lines]), "utf-8")
    return str(file)


@pytest.mark.parametrize("languages", [("en",), ("zh",), None], ids=["en", "zh", "both"])
def test_the_thing_on_a_picture_is_named(
    languages: tuple[str, ...] | None, encoder: Encoder, scenes: list[Scene], vectors: NDArray[np.float32], things: str
) -> None:
    concepts = load_concepts(things)
    groups = prompts(concepts, languages)
    space = concept_vectors(encoder.encode_texts([text for group in groups for text in group]), groups)
    found, sure = nearest(vectors, space, encoder.scale, encoder.bias, encoder.sigmoid, top=5)
    true = [f"{scene.groups[0].colour}-{scene.groups[0].shape}" for scene in scenes]
    named = [[concepts[place].id for place in row] for row in found]
    assert np.mean([thing in row for row, thing in zip(named, true, strict=True)]) > 0.94
    first = np.array([row[0] == thing for row, thing in zip(named, true, strict=True)])
    assert first.mean() > 0.25  # of 64; shapes are a few pixels large, and the model knows no such sentences
    assert sure[first, 0].mean() > sure[~first, 0].mean()
