"""Which pairs stay: by scores that are frozen, by a cap, and without a model; embeddings are computed once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from warehouse import schemas
from warehouse.ids import content_id
from warehouse.lake import connect
from warehouse.pairs import SURVIVOR, make_pairs, missing_pictures, missing_texts
from warehouse.scores import Rules, Said, Scorer

if TYPE_CHECKING:
    from conftest import World

Row = dict[str, Any]
TENTHS = [n / 10 for n in range(10, 0, -1)]


def scorer(model: str | None) -> tuple[Scorer, ...]:
    """The one model of a recipe, which reads every language, or none."""
    return () if model is None else (Scorer("clip", model, None),)


def _judge(
    world: World, scores: Sequence[float | None], rules: Rules, *, model: str | None = "m", one_image: bool = False
) -> tuple[list[Row], dict[str, float]]:
    """The judged pairs, in the order of `scores`: the picture's vector is (1), the text's is its score."""
    images = [1 if one_image else n for n in range(1, len(scores) + 1)]
    pairs = [
        {"image_id": image, "text_id": n, "role": "query", "candidate_id": n, "own_image": image}
        for n, image in enumerate(images)
    ]
    pictures = {one: [1.0] for one in images}
    words = {n: [score] for n, score in enumerate(scores) if score is not None}
    out = world.folder()
    name, _, cuts = world.judge(
        world.part(schemas.PAIRS, pairs),
        [],
        [world.vectors(model, pictures)],
        [world.vectors(model, words)],
        scorer(model),
        [],
        rules,
        out,
    )
    assert json.loads((out / "cuts.json").read_text()) == cuts
    return sorted(world.rows_in(name), key=lambda row: row["text_id"]), cuts


def test_a_fraction_is_cut_where_datacomp_cuts_it(bare: World) -> None:
    # DataComp's baselines/apply_filter.py: the cut is sorted_desc[int(n * fraction)], and a pair stays at the cut
    judged, cuts = _judge(bare, TENTHS, Rules(None, None, 0.3, None))
    assert cuts == {"top_fraction_score": pytest.approx(0.7)}
    assert [row["reason"] for row in judged] == [None] * 4 + ["clip_score_low"] * 6
    assert judged[4]["detail"] == "0.6000 < 0.7000"


def test_a_fraction_of_one_keeps_all_that_have_a_score(bare: World) -> None:
    judged, cuts = _judge(bare, [*TENTHS, None], Rules(None, None, 1.0, None))
    assert cuts == {"top_fraction_score": pytest.approx(0.1)}
    assert [row["reason"] for row in judged] == [None] * 10 + ["clip_score_low"]


def test_a_score_is_held_against_both_bounds_and_stays_at_them(bare: World) -> None:
    judged, cuts = _judge(bare, TENTHS, Rules(0.3, 0.9, None, None))
    assert cuts == {"min_score": 0.3, "max_score": 0.9}
    assert [row["reason"] for row in judged] == ["clip_score_high"] + [None] * 7 + ["clip_score_low"] * 2
    assert [judged[0]["detail"], judged[9]["detail"]] == ["1.0000 > 0.9000", "0.1000 < 0.3000"]


def test_only_the_best_texts_of_a_picture_stay_under_the_cap(bare: World) -> None:
    judged, _ = _judge(bare, [0.5, 0.9, 0.1, 0.9], Rules(0.2, None, None, 2), one_image=True)
    assert [row["reason"] for row in judged] == ["not_selected", None, "clip_score_low", None]
    assert judged[0]["detail"] == "3 > 2 texts"


def test_a_pair_without_an_embedding_has_no_score_and_says_so(bare: World) -> None:
    judged, _ = _judge(bare, [0.5, None], Rules(None, None, None, None))
    assert [(row["score"], row["reason"], row["detail"]) for row in judged] == [
        (0.5, None, None),
        (None, "clip_score_low", "no score"),
    ]


def test_without_a_model_there_is_no_score_and_only_the_cap_applies(bare: World) -> None:
    judged, cuts = _judge(bare, [0.5, None, 0.1], Rules(None, None, None, 2), model=None, one_image=True)
    assert cuts == {}
    assert [(row["score"], row["reason"]) for row in judged] == [(None, None), (None, None), (None, "not_selected")]


def test_a_pair_is_made_of_what_stays_on_the_picture_that_stands_for_the_rows_own(bare: World) -> None:
    sifted = bare.sifted([{"candidate_id": n, "url": f"u{n}"} for n in range(4)] + [{"candidate_id": 4, "reason": "x"}])
    texts = bare.told({n: ["a cat", ("bad", "text_pii")] for n in range(5)})
    looked = [{"url": f"u{n}", "image_id": n} for n in range(3)] + [{"url": "u3", "reason": "fetch_dns"}]
    joined: list[Row] = [{"image_id": 0, "survivor": 0}, {"image_id": 1, "survivor": 0}]
    joined += [{"image_id": 2, "survivor": 2, "reason": "benchmark_overlap"}]
    parts = bare.part(schemas.LOOKED, looked), bare.part(schemas.JOINED, joined)
    made = make_pairs(bare.warehouse, sifted, texts, [parts[0]], parts[1], bare.folder())
    found = [(row["image_id"], row["candidate_id"], row["own_image"], row["role"]) for row in bare.rows_in(made)]
    assert found == [(0, 0, 0, "query"), (0, 1, 1, "query")]


def test_what_the_warehouse_has_embedded_is_not_asked_for_again_and_is_used(world: World) -> None:
    pairs = world.part(schemas.PAIRS, [{"image_id": 5, "text_id": n, "candidate_id": n} for n in (1, 2)])
    texts = world.part(
        schemas.SIFTED_TEXTS, [{"candidate_id": n, "text_id": n, "norm": f"text {n}"} for n in (1, 2, 3)]
    )
    for model in ("m", "other"):
        (one,) = scorer(model)
        assert [
            world.rows_in(part) for part in missing_texts(world.warehouse, pairs, [texts], one, world.folder())
        ] == [[{"text_id": 1, "norm": "text 1"}, {"text_id": 2, "norm": "text 2"}]]
    with connect(world.warehouse) as con:
        con.execute("""INSERT INTO lake.embeddings VALUES
            ('text', 1, 'm', [0.5]), ('text', 2, 'other', [0.5]), ('picture', 5, 'm', [0.5]), ('text', 5, 'm', [9])""")
    (left,) = missing_texts(world.warehouse, pairs, [texts], scorer("m")[0], world.folder())
    assert world.rows_in(left) == [{"text_id": 2, "norm": "text 2"}]
    assert missing_pictures(world.warehouse, pairs, [], [], scorer("m"), [], world.folder()) is None
    words, everything = [world.vectors("m", {2: [1.0]})], Rules(None, None, None, None)
    name, _, _ = world.judge(pairs, [], [], words, scorer("m"), [], everything, world.folder())
    assert [row["score"] for row in world.rows_in(name)] == [0.25, 0.5]


def test_a_survivor_that_a_model_has_not_seen_is_looked_at_again_apart_from_its_url(world: World) -> None:
    """Its address shows another picture by now: one row of the log must not be told twice."""
    url, other = "http://a.example/1", "http://a.example/2"
    old, old_too = world.shot("old", phash=0), world.shot("old too", phash=-1)
    log = [{"candidate_id": n, "url": one, "texts": [f"a cat {n}"]} for n, one in enumerate((url, other))]
    world.publish(world.mill(log, {url: old, other: old_too}))
    shown = {url: world.shot("changed", phash=0x0F0F0F0F0F0F0F0F), other: world.shot("copy", phash=1, width=10)}
    again = world.mill(log, dict(shown), run_id="run-two")
    pairs = world.part(schemas.PAIRS, [{**row, "own_image": row["image_id"]} for row in again.judged])
    part = missing_pictures(world.warehouse, pairs, [], again.run.vectors, scorer("m"), [], world.folder())
    assert part is not None
    (row,) = [row for row in world.rows_in(part) if row["bytes"] == old.data]
    assert (row["url"], row["sha256"], row["reason"]) == (f"{SURVIVOR}{old.image_id}", old.sha256, None)
    everything = world.part(schemas.PAIRS, [{"image_id": one.image_id} for one in (old, old_too)])
    more = missing_pictures(world.warehouse, everything, [], again.run.vectors, scorer("m"), [], world.folder())
    assert more is not None
    assert Path(more).name != Path(part).name, "other survivors are another part: it is known by its name"


def _routed(world: World, rules: Rules) -> tuple[list[Row], list[Row], dict[str, float]]:
    """Two models, of Chinese and of English; texts 1 and 2 are English, 3 and 4 Chinese, 5 French."""
    languages = {1: "en", 2: "en", 3: "zh", 4: "zh", 5: "fr"}
    pairs = [{"image_id": n, "text_id": n, "candidate_id": n, "language": told} for n, told in languages.items()]
    scorers = (Scorer("east", "e", ("zh",)), Scorer("west", "w", ("en", "zh")))
    scores = {"e": {3: 0.3, 4: 0.1}, "w": {1: 0.9, 2: 0.7, 3: 0.8}}
    pictures = [world.vectors(model, {one: [1.0] for one in languages}) for model in scores]
    texts = [world.vectors(model, {n: [score] for n, score in held.items()}) for model, held in scores.items()]
    part = world.part(schemas.PAIRS, pairs)
    judged, scored, cuts = world.judge(part, [], pictures, texts, scorers, [], rules, world.folder())
    return world.rows_in(judged), world.rows_in(scored), cuts


def test_a_text_is_ranked_by_the_first_model_of_its_language_and_scored_by_all(bare: World) -> None:
    judged, scored, cuts = _routed(bare, Rules({"east": 0.2, "west": 0.8}, None, None, None))
    assert cuts == {"min_score:east": 0.2, "min_score:west": 0.8}
    told = [(row["model"], row["score"] and round(row["score"], 3), row["reason"]) for row in judged]
    assert told[:3] == [("w", 0.9, None), ("w", 0.7, "clip_score_low"), ("e", 0.3, None)]
    assert told[3:] == [("e", 0.1, "clip_score_low"), (None, None, "clip_score_low")]
    assert judged[4]["detail"] == "no model for its language"
    found = {(row["model"], row["text_id"]): round(row["value"], 3) for row in scored}
    assert found == {("e", 3): 0.3, ("e", 4): 0.1, ("w", 1): 0.9, ("w", 2): 0.7, ("w", 3): 0.8}


def test_a_fraction_is_taken_of_the_pool_of_each_model(bare: World) -> None:
    """A cosine of one model says nothing of another's: a share of all scores would take one language's."""
    judged, _, cuts = _routed(bare, Rules(None, None, 0.4, None))
    assert {key: round(cut, 3) for key, cut in cuts.items()} == {
        "top_fraction_score:east": 0.3,
        "top_fraction_score:west": 0.9,
    }
    assert [row["reason"] for row in judged] == [None, "clip_score_low", None, "clip_score_low", "clip_score_low"]


def test_a_model_is_asked_for_texts_of_its_languages_only(bare: World) -> None:
    rows = [{"image_id": 1, "text_id": n, "candidate_id": n, "language": told} for n, told in ((1, "en"), (2, "zh"))]
    told = [{"candidate_id": n, "text_id": n, "norm": f"text {n}"} for n in (1, 2)]
    pairs, texts = bare.part(schemas.PAIRS, rows), bare.part(schemas.SIFTED_TEXTS, told)
    (part,) = missing_texts(bare.warehouse, pairs, [texts], Scorer("east", "e", ("zh",)), bare.folder())
    assert bare.rows_in(part) == [{"text_id": 2, "norm": "text 2"}]


def test_pictures_are_selected_by_the_least_value_of_a_head_of_this_run_or_an_earlier_one(world: World) -> None:
    rows = [{"image_id": n, "text_id": 1, "candidate_id": n, "language": "en"} for n in range(1, 5)]
    values = ((1, 5.0), (1, 5.0000005), (2, 4.5))  # one picture in two parts, in batches that round otherwise
    seen = [{"image_id": n, "heads": ["beauty"], "head_values": [value]} for n, value in values]
    looked, pairs = [world.part(schemas.LOOKED, seen)], world.part(schemas.PAIRS, rows)
    with connect(world.warehouse) as con:
        con.execute("""INSERT INTO lake.picture_scores VALUES
            (1, 'beauty', 'm', 'this', 1), (3, 'beauty', 'm', 'this', 6), (4, 'beauty', 'm', 'another', 9)""")
    pictures, texts = world.vectors("m", {n: [1.0] for n in range(1, 5)}), world.vectors("m", {1: [1.0]})
    rules, said = Rules(None, None, None, None), [Said("beauty", "this", "not_selected", 5.0)]
    name, _, _ = world.judge(pairs, looked, [pictures], [texts], scorer("m"), said, rules, world.folder())
    assert [(row["reason"], row["detail"]) for row in world.rows_in(name)] == [
        (None, None),
        ("not_selected", "beauty 4.50 < 5"),
        (None, None),
        ("not_selected", "beauty: no value"),
    ]


def test_a_survivor_that_a_head_has_not_judged_is_looked_at_again(world: World) -> None:
    old = world.shot("old")
    world.publish(
        world.mill([{"candidate_id": 1, "url": "http://a.example/1", "texts": ["a cat"]}], {"http://a.example/1": old})
    )
    pairs = world.part(schemas.PAIRS, [{"image_id": old.image_id, "text_id": 1, "candidate_id": 1}])
    asked = (world.warehouse, pairs, [], [], (), [Said("beauty", "this", "not_selected", 5.0)])
    part = missing_pictures(*asked, world.folder())
    assert part is not None
    assert [row["sha256"] for row in world.rows_in(part)] == [old.sha256]
    with connect(world.warehouse) as con:
        con.execute("INSERT INTO lake.picture_scores VALUES ($1, 'beauty', 'm', 'this', 1)", [old.image_id])
    assert missing_pictures(*asked, world.folder()) is None


def test_a_survivor_that_a_head_finds_unsafe_is_in_no_release(bare: World) -> None:
    rows = [{"image_id": n, "text_id": 1, "candidate_id": n, "language": "en"} for n in (1, 2, 3)]
    seen = [{"image_id": n, "heads": ["unsafe"], "head_values": [value]} for n, value in ((1, 0.5), (2, 0.4))]
    looked, pairs = [bare.part(schemas.LOOKED, seen)], bare.part(schemas.PAIRS, rows)
    said, rules = [Said("unsafe", "this", "image_unsafe", 0.5)], Rules(None, None, None, None)
    name, _, _ = bare.judge(pairs, looked, [], [], (), said, rules, bare.folder())
    assert [(row["reason"], row["detail"]) for row in bare.rows_in(name)] == [
        ("image_unsafe", "unsafe 0.50; under 0.5"),
        (None, None),
        (None, None),
    ]


def test_a_score_that_is_no_number_passes_no_bound(bare: World) -> None:
    judged, _ = _judge(bare, [float("nan"), 0.5], Rules(0.2, None, None, None))
    assert [(row["reason"], row["detail"]) for row in judged] == [("clip_score_low", "no score"), (None, None)]


def test_the_cap_counts_the_texts_of_each_model_by_themselves(bare: World) -> None:
    """Cosines of two models do not compare: one language would win every place."""
    rows = [{"image_id": 1, "text_id": n, "candidate_id": n, "language": told} for n, told in enumerate("zzee")]
    scorers = (Scorer("east", "e", ("z",)), Scorer("west", "w", ("e",)))
    pictures = [bare.vectors(one.model, {1: [1.0]}) for one in scorers]
    texts = [bare.vectors("e", {0: [0.1], 1: [0.2]}), bare.vectors("w", {2: [0.8], 3: [0.9]})]
    part, rules = bare.part(schemas.PAIRS, rows), Rules(None, None, None, 1)
    name, _, _ = bare.judge(part, [], pictures, texts, scorers, [], rules, bare.folder())
    assert [row["reason"] for row in bare.rows_in(name)] == ["not_selected", None, "not_selected", None]


def _near_pairs(world: World, said: Sequence[tuple[str, int]], near: Sequence[Sequence[str]]) -> list[Row]:
    """The pairs of rows with a text and clicks each, all of one picture."""
    sifted = world.sifted([{"candidate_id": n, "url": "u", "clicks": clicks} for n, (_, clicks) in enumerate(said)])
    texts = world.told({n: [text] for n, (text, _) in enumerate(said)}, near)
    looked = world.part(schemas.LOOKED, [{"url": "u", "image_id": 1}])
    joined = world.part(schemas.JOINED, [{"image_id": 1, "survivor": 1}])
    return world.rows_in(make_pairs(world.warehouse, sifted, texts, [looked], joined, world.folder()))


@pytest.mark.parametrize(
    ("said", "best"),
    [
        ([("a cat", 1), ("a cat now", 2), ("a cat at last", 1)], "a cat now"),
        ([("a cat", 2), ("a cat now", 3), ("a cat", 2)], "a cat"),
        ([("a cat", 1), ("a cat now", 1), ("a cat at last", 1)], "a cat at last"),
        ([("a cat 1", 0), ("a cat 2", 0), ("a cat 3", 0)], "the smallest"),
    ],
)
def test_of_near_texts_on_a_picture_the_most_clicked_stays_then_the_longest(
    bare: World, said: list[tuple[str, int]], best: str
) -> None:
    texts = sorted({text for text, _ in said})
    ids = {text: content_id(text.encode()) for text in texts}
    stays = ids.get(best, min(ids.values()))
    for order in permutations(said):
        rows = _near_pairs(bare, order, [texts])
        assert {row["text_id"] for row in rows if row["better_text"] is None} == {stays}
        assert {row["text_id"] for row in rows if row["better_text"] == stays} == set(ids.values()) - {stays}
        assert {row["text_group"] for row in rows} == {min(ids.values())}
    assert all(row["better_text"] is None for row in _near_pairs(bare, said, []))


def test_a_near_copy_is_neither_embedded_nor_scored_nor_counted_in_a_fraction(bare: World) -> None:
    rows = [{"image_id": 1, "text_id": n, "candidate_id": n, "better_text": 2 if n == 1 else None} for n in (1, 2, 3)]
    part = bare.part(schemas.PAIRS, rows)
    told = bare.part(schemas.SIFTED_TEXTS, [{"candidate_id": n, "text_id": n, "norm": f"text {n}"} for n in (1, 2, 3)])
    (one,) = scorer("m")
    (asked,) = missing_texts(bare.warehouse, part, [told], one, bare.folder())
    assert [row["text_id"] for row in bare.rows_in(asked)] == [2, 3]
    pictures, texts = bare.vectors("m", {1: [1.0]}), bare.vectors("m", {1: [0.9], 2: [0.5], 3: [0.4]})
    rules = Rules(None, None, 0.5, None)
    name, scored, cuts = bare.judge(part, [], [pictures], [texts], (one,), [], rules, bare.folder())
    assert cuts == {"top_fraction_score": pytest.approx(0.4)}
    assert [row["text_id"] for row in bare.rows_in(scored)] == [2, 3]
    assert [(row["reason"], row["detail"]) for row in bare.rows_in(name)] == [
        ("duplicate", "near copy of text 2"),
        (None, None),
        (None, None),
    ]


@pytest.mark.parametrize(("model", "kept"), [("m", {1, 3}), (None, {1, 2})])
def test_the_best_pictures_of_a_text_and_its_near_copies_stay_under_the_cap(
    bare: World, model: str | None, kept: set[int]
) -> None:
    scores = {1: 0.9, 2: 0.4, 3: 0.6, 4: 0.1}
    rows = [{"image_id": n, "text_id": n % 2, "candidate_id": n, "text_group": 0} for n in scores]
    rows += [{"image_id": 2, "text_id": 9, "candidate_id": 5, "text_group": 9}]
    pictures, texts = (
        bare.vectors("m", {n: [one] for n, one in scores.items()}),
        bare.vectors("m", {0: [1.0], 1: [1.0]}),
    )
    rules = Rules(0.2 if model else None, None, None, None, images_per_text=2)
    part = bare.part(schemas.PAIRS, rows)
    name, _, _ = bare.judge(part, [], [pictures], [texts], scorer(model), [], rules, bare.folder())
    judged = {row["candidate_id"]: (row["reason"], row["detail"]) for row in bare.rows_in(name)}
    assert {one for one, (reason, _) in judged.items() if reason is None} == kept | (set() if model else {5})
    if model:
        assert judged[2] == ("not_selected", "3 > 2 pictures")
        assert judged[4] == ("clip_score_low", "0.1000 < 0.2000")


def test_what_a_picture_loses_to_the_cap_of_a_text_leaves_room_for_its_other_texts(bare: World) -> None:
    """Text 1 stands best with pictures 7 and 8; its place among the texts of picture 9 is text 2's."""
    held = {(7, 1): 0.9, (8, 1): 0.8, (9, 1): 0.7, (9, 2): 0.6, (9, 3): 0.5}
    rows = [
        {"image_id": image, "text_id": text, "candidate_id": n, "text_group": text}
        for n, (image, text) in enumerate(held)
    ]
    pictures = bare.vectors("m", {7: [0.9, 0, 0], 8: [0.8, 0, 0], 9: [0.7, 0.6, 0.5]})
    texts = bare.vectors("m", {1: [1, 0, 0], 2: [0, 1, 0], 3: [0, 0, 1]})
    rules = Rules(None, None, None, texts_per_image=1, images_per_text=2)
    part = bare.part(schemas.PAIRS, rows)
    name, _, _ = bare.judge(part, [], [pictures], [texts], scorer("m"), [], rules, bare.folder())
    told = {(row["image_id"], row["text_id"]): row["detail"] for row in bare.rows_in(name)}
    assert told == {(7, 1): None, (8, 1): None, (9, 1): "3 > 2 pictures", (9, 2): None, (9, 3): "2 > 1 texts"}
