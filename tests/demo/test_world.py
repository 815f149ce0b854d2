"""The rendered world."""

import io
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from demo.train_scorer import ATTRIBUTES
from demo.world import BACKGROUNDS, COLOURS, LANGUAGES, SHAPES, SIZES, Attribute, Language, Scene, random_scene

seeds = st.integers(0, 2**32)


def test_a_scene_is_the_same_bytes_every_time() -> None:
    scene = random_scene(random.Random(3))
    assert scene.render() == Scene(scene.groups, scene.background, scene.seed).render()


def test_scenes_come_in_several_formats_and_sizes() -> None:
    rng = random.Random(0)
    pictures = [Image.open(io.BytesIO(random_scene(rng).render())) for _ in range(60)]
    assert {picture.format for picture in pictures} == {"JPEG", "PNG", "WEBP"}
    assert len({picture.size for picture in pictures}) > 2
    assert all(picture.width == picture.height >= 256 for picture in pictures)


@settings(max_examples=50)
@given(seeds, st.sampled_from(LANGUAGES))
def test_a_description_names_every_attribute_and_is_long_enough(seed: int, language: Language) -> None:
    rng = random.Random(seed)
    scene = random_scene(rng)
    text = scene.describe(rng, language)
    place = 0 if language == "zh" else None
    for group in scene.groups:
        assert (COLOURS[group.colour][0] if language == "zh" else group.colour) in text
        assert (SHAPES[group.shape][1] if language == "zh" else group.shape) in text
        assert (SIZES[group.size][0] if language == "zh" else group.size) in text
    assert (BACKGROUNDS[scene.background][0] if place == 0 else scene.background) in text
    for said in (text, scene.query(rng, language)):
        assert len(said) <= 300
        assert len(re.findall(r"[一-鿿]", said)) >= 4 or len(said.split()) >= 2


@settings(max_examples=80)
@given(seeds, st.sampled_from(ATTRIBUTES), st.sampled_from(LANGUAGES))
def test_an_edit_makes_every_description_untrue(seed: int, attribute: Attribute, language: Language) -> None:
    rng = random.Random(seed)
    scene = random_scene(rng)
    edited = scene.edited(rng, attribute)
    before = {scene.describe(rng, language) for _ in range(40)}
    after = {edited.describe(rng, language) for _ in range(40)}
    assert not before & after


@pytest.mark.parametrize("count", [1, 2, 3])
def test_english_says_number_as_people_do(count: int) -> None:
    scene = random_scene(random.Random(count))
    group = scene.groups[0].__class__("orange", "cross", "big", count)
    words = {1: "an orange cross", 2: "two orange crosses", 3: "three orange crosses"}
    assert group.words("en", brief=True) == words[count]
