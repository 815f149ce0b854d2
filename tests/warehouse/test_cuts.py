"""Policies cut what is left in their order, each model's pairs at a value of their own; the first to cut is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from warehouse import schemas
from warehouse.cuts import BestSource, Cut, Policies
from warehouse.scores import Rules, Scorer

if TYPE_CHECKING:
    from conftest import World

Row = dict[str, Any]
CAPTIONED = "caption:coca"
TWO = (Scorer("west", "w", ("en",)), Scorer("east", "e", ("zh",)))


def _judge(
    world: World, values: Sequence[Row], asked: Sequence[Cut | BestSource], rules: Rules | None = None
) -> tuple[list[Row], dict[str, float]]:
    """Pairs of a picture and a text each: `language`, `score` and any number of measures, by name.

    Rows with one `text` are of one text, and those with one `group` of near texts.
    """
    pairs, metrics = [], []
    pictures: dict[str, dict[int, list[float]]] = {"w": {}, "e": {}}
    texts: dict[str, dict[int, list[float]]] = {"w": {}, "e": {}}
    for n, one in enumerate(values):
        image, language = one.get("image", n), one.get("language", "en")
        model, text = "w" if language == "en" else "e", one.get("text", n)
        pairs.append(
            {"image_id": image, "text_id": text, "role": one.get("role", "query"), "language": language}
            | {"candidate_id": n, "own_image": image, "text_group": one.get("group", text)}
        )
        pictures[model][image], texts[model][text] = [1.0], [one.get("score", 0.5)]
        metrics += [
            {"image_id": image, "text_id": text, "metric": name, "model": model, "value": value}
            for name, value in one.items()
            if name not in ("image", "text", "group", "language", "role", "score")
        ]
    policies = Policies(tuple(asked), (world.part(schemas.SCORES, metrics),))
    parts = [[world.vectors(model, held) for model, held in side.items()] for side in (pictures, texts)]
    name, _, frozen = world.judge(
        world.part(schemas.PAIRS, pairs),
        [],
        *parts,
        TWO,
        [],
        rules or Rules(None, None, None, None),
        world.folder(),
        policies,
    )
    return sorted(world.rows_in(name), key=lambda row: row["candidate_id"]), frozen


def _reasons(judged: Sequence[Row]) -> list[str | None]:
    return [row["reason"] for row in judged]


def test_each_models_pairs_are_cut_at_a_value_of_their_own(bare: World) -> None:
    west = [{"language": "en", "m": n / 10} for n in range(1, 11)]
    east = [{"language": "zh", "m": n} for n in range(1, 5)]
    judged, frozen = _judge(bare, west + east, [Cut("near", "m", "not_selected", None, 0.3)])
    assert _reasons(judged) == ["not_selected"] * 6 + [None] * 4 + ["not_selected"] * 2 + [None] * 2
    assert frozen == {"near:west": pytest.approx(0.7), "near:east": 3.0}
    assert judged[0]["detail"] == "near 0.1000 < 0.7000"


def test_a_value_at_the_bound_stays_in_single_precision(bare: World) -> None:
    drawn = np.random.default_rng(0).standard_normal(40).astype(np.float32)
    rows = [{f"m{n}": float(value) for n in range(12)} for value in drawn]
    for n in range(12):  # a bound that is written as another number than the stored one turns its own pair away
        judged, _ = _judge(bare, rows, [Cut("near", f"m{n}", "not_selected", None, n / 12 + 0.01)])
        assert _reasons(judged).count(None) == int(40 * (n / 12 + 0.01)) + 1
    judged, frozen = _judge(bare, [{"m": 0.1}, {"m": 0.3}], [Cut("near", "m", "not_selected", 0.3)])
    assert _reasons(judged) == ["not_selected", None]
    assert frozen == {"near": 0.3}


def test_a_pair_without_a_value_does_not_stay(bare: World) -> None:
    judged, _ = _judge(bare, [{"m": 1}, {}, {"m": float("nan")}], [Cut("near", "m", "not_mutual", 0.5)])
    assert _reasons(judged) == [None, "not_mutual", "not_mutual"]
    assert judged[1]["detail"] == "near: no value"


def test_the_first_that_turns_away_is_told_and_what_follows_is_of_the_rest(bare: World) -> None:
    rows = [{"score": 0.1, "a": 9, "b": 9}, {"a": 1, "b": 8}, {"a": 5, "b": 1}, {"a": 5, "b": 2}]
    asked = [Cut("a", "a", "not_mutual", 3), Cut("b", "b", "not_selected", None, 0.4, "left")]
    judged, frozen = _judge(bare, rows, asked, Rules(0.2, None, None, None))
    assert _reasons(judged) == ["clip_score_low", "not_mutual", "not_selected", None]
    assert frozen == {"min_score:west": 0.2, "min_score:east": 0.2, "a": 3, "b:west": 2.0}


def test_what_a_policy_turns_away_leaves_room_under_the_caps(bare: World) -> None:
    rows = [{"image": 1, "score": score, "a": a} for score, a in ((0.9, 0), (0.5, 1), (0.4, 1))]
    judged, _ = _judge(bare, rows, [Cut("a", "a", "not_mutual", 1)], Rules(None, None, None, 1))
    assert _reasons(judged) == ["not_mutual", None, "not_selected"]


def test_a_rival_that_was_turned_away_before_is_none(bare: World) -> None:
    rows = [
        {"image": 1, "score": 0.5, "a": 1, "role": "query"},
        {"image": 1, "score": 0.9, "a": 0, "role": "caption:c"},
        {"image": 1, "score": 0.4, "a": 1, "role": "caption:c"},
        {"image": 1, "score": 0.95, "a": 1, "role": "caption:c", "language": "zh"},  # another model's scores
    ]
    judged, _ = _judge(bare, rows, [Cut("a", "a", "not_mutual", 1), BestSource(0)])
    assert _reasons(judged) == [None, "not_mutual", "not_selected", None]
    judged, _ = _judge(bare, rows, [BestSource(0), Cut("a", "a", "not_mutual", 1)])
    assert _reasons(judged) == ["caption_better", "not_mutual", "not_selected", None]


def test_captions_join_under_the_caps_and_push_no_text_of_people_out(bare: World) -> None:
    of_one = [
        {"image": 1, "score": score, "role": role}
        for score, role in ((0.3, "query"), (0.2, "title"), (0.9, CAPTIONED), (0.8, CAPTIONED), (0.7, CAPTIONED))
    ]
    judged, _ = _judge(bare, of_one, [], Rules(None, None, None, 2))
    assert _reasons(judged) == [None] * 4 + ["not_selected"]
    assert judged[4]["detail"] == "3 > 2 texts"
    near = [{"group": 7, "score": score, "role": role} for score, role in ((0.2, "query"), (0.9, CAPTIONED))]
    judged, _ = _judge(bare, near, [], Rules(None, None, None, None, 1))
    assert _reasons(judged) == [None, None]


def test_a_text_that_people_and_a_model_wrote_counts_as_one_of_people(bare: World) -> None:
    both = [{"image": 1, "text": 5, "score": 0.3, "role": role} for role in (CAPTIONED, "query")]
    rest = [{"image": 1, "score": score, "role": role} for score, role in ((0.2, "title"), (0.25, CAPTIONED))]
    judged, _ = _judge(bare, both + rest, [], Rules(None, None, None, 1))
    assert _reasons(judged) == [None, None, "not_selected", None]
    judged, _ = _judge(bare, both, [BestSource(0.1)])
    assert _reasons(judged) == [None, None]


def test_a_fraction_is_of_the_texts_of_people_and_captions_are_held_against_the_same_cut(bare: World) -> None:
    people = [{"score": n / 10, "m": n / 10} for n in range(1, 11)]
    captions = [{"score": score, "m": score, "role": CAPTIONED} for score in (0.95, 0.9, 0.85, 0.65)]
    kept = [*["clip_score_low"] * 6, *[None] * 7, "clip_score_low"]
    judged, frozen = _judge(bare, people + captions, [], Rules(None, None, 0.3, None))
    assert (_reasons(judged), frozen) == (kept, {"top_fraction_score:west": pytest.approx(0.7)})
    for of in ("all", "left"):
        judged, frozen = _judge(bare, people + captions, [Cut("m", "m", "clip_score_low", None, 0.3, of)])
        assert (_reasons(judged), frozen) == (kept, {"m:west": pytest.approx(0.7)})


def test_where_only_captions_are_a_fraction_is_of_them(bare: World) -> None:
    rows = [{"score": n / 10, "m": n / 10, "role": CAPTIONED, "language": "zh"} for n in range(1, 11)]
    rows.append({"score": 1.0, "m": 1.0})  # another model's
    judged, frozen = _judge(bare, rows, [Cut("m", "m", "not_selected", None, 0.3)], Rules(None, None, 0.3, None))
    assert frozen["top_fraction_score:east"] == frozen["m:east"] == pytest.approx(0.7)
    assert _reasons(judged).count(None) == 5
