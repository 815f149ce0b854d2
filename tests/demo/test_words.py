"""In the rendered world, where the truth is known, wrong captions go and true ones stay."""

import json
import random
from pathlib import Path

import numpy as np
import open_clip
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.models.encoder import Encoder
from actors.models.files import find_model
from actors.models.open_clip_model import load_tokenizer
from bench.words import AGREEMENT, TELLING, Judge, draw, precision_recall, rejected, texts_of, without
from demo.train_checker import CONFIG, SIDE, Claim, answers, draw_batch, loss_of, train
from demo.train_scorer import normalised, shrunk
from demo.world import LANGUAGES, Group, Language, Scene, random_scene
from filters.objects import load_objects
from filters.recipe import Model

CHECKER = Path(__file__).parents[2] / "demo" / "checker"
SCENES = 300


@pytest.fixture(scope="module")
def shares() -> dict[Language, dict[str, dict[str, float]]]:
    """What each check rejects of each kind of text, of scenes that no other test and no training sees."""
    judge = Judge()
    world = draw(judge.encoder, SCENES, TELLING + 1)
    return {language: rejected(judge, world, texts_of(world, language)) for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_that_name_an_absent_object_go_and_true_ones_stay(
    language: Language, shares: dict[Language, dict[str, dict[str, float]]]
) -> None:
    assert shares[language]["absent"]["objects"] >= 0.9
    assert 1 - shares[language]["captions"]["objects"] >= 0.95


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("check", ["agreement", "both"])
def test_mismatched_texts_go_with_precision_and_recall(
    check: str, language: Language, shares: dict[Language, dict[str, dict[str, float]]]
) -> None:
    of = shares[language]
    precision, recall = precision_recall(of["mismatched"][check], of["true"][check])
    assert precision >= 0.95
    assert recall >= 0.95


def test_the_checker_is_another_model_than_the_scorer_and_small_enough_for_a_repository() -> None:
    weights = CHECKER / "open_clip_model.safetensors"
    assert weights.stat().st_size <= 6_000_000
    assert weights.read_bytes() != (CHECKER.parent / "scorer" / "open_clip_model.safetensors").read_bytes()
    assert json.loads((CHECKER / "open_clip_config.json").read_text())["model_cfg"] == CONFIG


def test_a_training_leaves_a_model_that_runs_can_load(tmp_path: Path) -> None:
    train(tmp_path, steps=3, scenes=8)
    encoder = Encoder(find_model(Model(path=str(tmp_path))))
    assert encoder.sigmoid
    assert encoder.encode_texts(["a red star", "红色星星"]).shape == (2, encoder.width)


def test_the_loss_asks_what_is_true_of_which_scene() -> None:
    model = open_clip.create_model(f"local-dir:{CHECKER}")
    scenes, claims = draw_batch(random.Random(4), 16)
    pixels = normalised(np.stack([shrunk(scene.draw(128), SIDE) for scene in scenes]), random.Random(0))
    tokens, truth = load_tokenizer(CHECKER)([claim.text for claim in claims]), answers(scenes, claims)
    right, wrong = (loss_of(model, pixels, tokens, said).item() for said in (truth, ~truth))
    assert right < 0.1 * wrong


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32))
def test_a_claim_is_true_of_its_scene_and_not_of_one_with_another_shape(seed: int) -> None:
    scenes, claims = draw_batch(random.Random(seed), 8)
    own, edited, named = claims[:8], claims[8:16], claims[16:]
    assert all(claim.true_of(scene) for claim, scene in zip(own, scenes, strict=True))
    assert not any(claim.true_of(scene) for claim, scene in zip(edited, scenes, strict=True))
    for scene in scenes:
        assert {claim.shape for claim in named if claim.true_of(scene)} == {group.shape for group in scene.groups}


def test_a_query_is_true_of_every_scene_with_its_groups() -> None:
    star, moon = Group("red", "star", "big", 2), Group("blue", "moon", "small", 1)
    scene, other = Scene((star, moon), "white", 1), Scene((moon, Group("red", "star", "small", 2)), "black", 2)
    query, caption = Claim("", (star, moon)), Claim("", (star, moon), True, "white")
    assert (query.true_of(scene), query.true_of(other)) == (True, True)
    assert (caption.true_of(scene), caption.true_of(other)) == (True, False)
    assert not Claim("", (star,)).true_of(scene)
    assert not Claim("", (moon, star), True, "black").true_of(scene)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from(LANGUAGES))
def test_the_vocabulary_reads_the_shapes_that_a_text_of_the_world_names(seed: int, language: Language) -> None:
    rng = random.Random(seed)
    scene = random_scene(rng)
    wrong, named = without(scene, rng), load_objects("demo/objects.tsv").mentions
    for text, of in ((scene.describe(rng, language), scene), (scene.query(rng, language), scene)):
        assert sorted(named([text])[0]) == sorted(group.shape for group in of.groups)
    there = {group.shape for group in scene.groups}
    assert not set(named([wrong.describe(rng, language)])[0]) <= there


def test_figures_are_of_equally_many_right_and_wrong_texts() -> None:
    assert precision_recall(0.9, 0.1) == pytest.approx((0.9, 0.9))
    assert precision_recall(0.0, 0.0) == (0.0, 0.0)


def test_equal_seeds_give_equal_worlds_and_texts() -> None:
    judge = Judge(min_score=AGREEMENT)
    first, second = (draw(judge.encoder, 12, 3) for _ in range(2))
    assert first.scenes == second.scenes
    assert np.array_equal(first.pictures, second.pictures)
    assert texts_of(first, "en") == texts_of(second, "en")
