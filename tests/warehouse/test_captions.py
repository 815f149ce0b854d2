"""Which pictures want captions, which captions join the pairs, and what a warehouse keeps of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from warehouse import schemas
from warehouse.captions import (
    Agreeing,
    caption_texts,
    captions_known,
    check_agreement,
    join_captions,
    keep_best,
    pictures_wanted,
    told_of,
)
from warehouse.ids import content_id
from warehouse.ledger import check_ledger, make_ledger
from warehouse.publish import Captioned
from warehouse.why import explain

if TYPE_CHECKING:
    from conftest import Milled, Row, World

LOG = [
    {"candidate_id": 1, "url": "http://h/a", "texts": ["red bus"]},
    {"candidate_id": 2, "url": "http://h/b", "texts": ["blue cup"]},
]
A, B = content_id(b"a"), content_id(b"b")


def text_id_of(norm: str) -> int:
    return content_id(norm.encode())


def caption(image: int, norm: str, sample: int = 0, **facts: Any) -> Row:
    return {
        "image_id": image,
        "captioner": "coca",
        "model": "m1",
        "sample": sample,
        "prompt": "",
        "seed": 0,
        "raw": norm.capitalize(),
        "tokens": 5,
        "ended": True,
        "norm": norm,
        "language": "en",
        "text_id": text_id_of(norm),
        **facts,
    }


def check(of: Row, metric: str, value: float, reason: str | None = None) -> Row:
    key = ("image_id", "captioner", "model", "prompt_language", "sample", "text_id")
    return {name: of.get(name) for name in key} | {
        "metric": metric,
        "value": value,
        "reason": reason,
        "detail": reason and f"{value} too much",
    }


def words(world: World, *captions: Row) -> str:
    return world.part(schemas.CAPTION_WORDS, captions)


def checks(world: World, *rows: Row) -> str:
    return world.part(schemas.CAPTION_CHECKS, rows)


def paired(world: World, milled: Milled) -> str:
    """The pairs of people's texts that a run has judged."""
    return world.part(schemas.PAIRS, milled.judged)


def joined(world: World, pairs: str, written: Sequence[str], held: Sequence[str]) -> list[Row]:
    return world.rows_in(join_captions(world.warehouse, pairs, written, held, str(world.folder() / "p.parquet")))


@pytest.fixture
def milled(world: World) -> Milled:
    return world.mill(LOG, {"http://h/a": world.shot("a", phash=1), "http://h/b": world.shot("b", phash=-1)})


def test_captions_join_the_pairs_and_replace_no_text_of_people(world: World, milled: Milled) -> None:
    pairs = paired(world, milled)
    rows = joined(world, pairs, [words(world, caption(A, "a bus"), caption(A, "red bus", 1))], [])
    roles = {(row["image_id"], row["text_id"], row["role"], row["candidate_id"]) for row in rows}
    assert roles == {
        (A, text_id_of("red bus"), "query", 1),
        (B, text_id_of("blue cup"), "query", 2),
        (A, text_id_of("a bus"), "caption:coca", None),
        (A, text_id_of("red bus"), "caption:coca", None),
    }


def test_a_caption_that_any_check_turned_away_does_not_join(world: World, milled: Milled) -> None:
    good, bad = caption(A, "a bus"), caption(A, "a cat", 1)
    written = words(world, good, bad)
    held = [checks(world, check(good, "length", 5), check(bad, "length", 5)), checks(world)]
    held.append(checks(world, check(bad, "presence", 0.1, "caption_absent_object")))
    rows = joined(world, paired(world, milled), [written], held)
    assert [row["text_id"] for row in rows if row["role"] == "caption:coca"] == [text_id_of("a bus")]
    (text,) = world.rows_in(caption_texts(world.warehouse, [written], held, world.folder()))
    assert (text["norm"], text["role"], text["candidate_id"]) == ("a bus", "caption:coca", None)
    assert told_of(world.warehouse, [written], held) == "2 captions, 1 stay, 1 caption_absent_object"


def test_the_same_sample_in_another_language_is_another_caption(world: World, milled: Milled) -> None:
    english, chinese = caption(A, "a bus", prompt_language="en"), caption(A, "红色公交车", prompt_language="zh")
    held = checks(world, check(chinese, "length", 5, "caption_too_long"))
    rows = joined(world, paired(world, milled), [words(world, english, chinese)], [held])
    assert [row["text_id"] for row in rows if row["role"] == "caption:coca"] == [text_id_of("a bus")]


def test_agreement_asks_the_cosine_and_the_best_text_of_people(world: World, milled: Milled) -> None:
    said = {"red bus": (0.8, 0.6), "a bus": (0.6, 0.8), "a cat": (0.1, 0.99)}
    pictures = [world.vectors("m2", {A: (1.0, 0.0)})]
    texts = [world.vectors("m2", {text_id_of(norm): vector for norm, vector in said.items()})]
    loop = caption(A, "a van a van a van", 2)
    written = words(world, caption(A, "a bus"), caption(A, "a cat", 1), caption(B, "a cup"), loop)
    held = [checks(world, check(loop, "repetition", 0.9, "caption_repetitive"))]  # of it nothing more is asked

    def reasons(asked: Agreeing) -> dict[str, tuple[float | None, str | None]]:
        part = check_agreement(
            world.warehouse, paired(world, milled), [written], held, pictures, texts, asked, world.folder()
        )
        rows = world.rows_in(part)
        assert {row["metric"] for row in rows} == {"agreement"}
        assert {row["reason"] for row in rows} <= {None, "caption_disagrees"}
        norms = {text_id_of(norm): norm for norm in ("a bus", "a cat", "a cup")}
        return {norms[row["text_id"]]: (row["value"], row["detail"]) for row in rows}

    lenient = reasons(Agreeing("m2", 0.5, None))
    assert lenient["a bus"] == (pytest.approx(0.6), None)
    assert lenient["a cat"] == (pytest.approx(0.1), "cosine 0.1000 < 0.5")
    assert lenient["a cup"] == (None, "no cosine")  # nobody embedded it: what is not known does not agree
    assert reasons(Agreeing("m2", None, 0.1))["a bus"][1] == "cosine 0.6000 < 0.8000 of the best text of people - 0.1"
    assert reasons(Agreeing("m2", None, 0.3))["a bus"][1] is None


def test_of_a_captioners_samples_the_best_stay(world: World) -> None:
    samples = [caption(A, "a bus"), caption(A, "a cat", 1), caption(A, "a bus", 2), caption(A, "a van", 3)]
    other = caption(A, "a cat", captioner="blip", model="m9")
    chinese = caption(A, "公交车", captioner="zh", prompt_language="zh")  # no vector: the model does not read it
    vectors = {"a bus": (1.0, 0.0), "a cat": (0.0, 1.0), "a van": (0.9, 0.4)}
    part = keep_best(
        world.warehouse,
        [words(world, *samples, other, chinese)],
        [checks(world, check(samples[3], "length", 5, "caption_too_long"))],
        [world.vectors("m1", {A: (1.0, 0.0)})],
        [world.vectors("m1", {text_id_of(norm): vector for norm, vector in vectors.items()})],
        "m1",
        1,
        world.folder(),
    )
    ranks = {(row["captioner"], row["sample"]): (row["value"], row["reason"]) for row in world.rows_in(part)}
    assert ranks == {  # a sample that another check turned away takes nobody's place; equal texts share theirs
        ("zh", 0): (1.0, None),
        ("coca", 0): (1.0, None),
        ("coca", 1): (2.0, "caption_not_best"),
        ("coca", 2): (1.0, None),
        ("blip", 0): (1.0, None),
    }


def test_only_survivors_without_captions_by_this_very_model_are_wanted(world: World, milled: Milled) -> None:
    run, pairs = milled.run, paired(world, milled)
    (one,) = pictures_wanted(world.warehouse, pairs, run.looked, run.fetched, "m1", world.folder())
    assert one.fetched == run.fetched[0]
    assert {row["image_id"]: row["url"] for row in world.rows_in(one.pictures)} == {A: "http://h/a", B: "http://h/b"}
    captioned = Captioned((words(world, caption(A, "a bus")),), (), ())
    world.publish(replace(milled, run=replace(run, captions=captioned)))
    (left,) = pictures_wanted(world.warehouse, pairs, run.looked, run.fetched, "m1", world.folder())
    assert [row["image_id"] for row in world.rows_in(left.pictures)] == [B]
    (all_,) = pictures_wanted(world.warehouse, pairs, run.looked, run.fetched, "m2", world.folder())
    assert len(world.rows_in(all_.pictures)) == 2
    (part,) = captions_known(world.warehouse, pairs, ["m1"], world.folder())
    (known,) = world.rows_in(part)
    assert captions_known(world.warehouse, pairs, ["m2"], world.folder()) == []
    assert (known["image_id"], known["raw"], known["captioner"]) == (A, "A bus", "coca")


def test_a_survivor_of_an_earlier_run_is_captioned_out_of_the_warehouse(world: World, milled: Milled) -> None:
    world.publish(milled)
    none_here = world.looked({})
    wanted = pictures_wanted(world.warehouse, paired(world, milled), [none_here], [], "m1", world.folder())
    (one,) = wanted
    urls = {row["url"]: row["image_id"] for row in world.rows_in(one.pictures)}
    assert {urls[row["url"]]: row["bytes"] for row in world.rows_in(one.fetched)} == {A: b"a", B: b"b"}


def test_a_release_holds_captions_by_role_and_weight_and_rows_keep_their_fate(world: World, milled: Milled) -> None:
    good, bad = caption(A, "a bus"), caption(B, "a cat")
    written = words(world, good, bad)
    held = checks(world, check(good, "length", 5), check(bad, "repetition", 0.9, "caption_repetitive"))
    texts = caption_texts(world.warehouse, [written], [held], world.folder())
    judged = world.part(
        schemas.JUDGED,
        [*milled.judged, {"image_id": A, "text_id": text_id_of("a bus"), "role": "caption:coca"}],
    )
    run = replace(milled.run, judged=judged, captions=Captioned((written,), (held,), (texts,), 0.5))
    world.publish(replace(milled, run=run))
    assert world.ask("SELECT role, weight, norm FROM release_pairs JOIN texts USING (text_id) ORDER BY role, norm") == [
        ("caption:coca", 0.5, "a bus"),
        ("query", 1.0, "blue cup"),
        ("query", 1.0, "red bus"),
    ]
    assert world.ask("SELECT image_id, captioner, raw, prompt_language FROM captions ORDER BY raw") == [
        (A, "coca", "A bus", None),
        (B, "coca", "A cat", None),
    ]
    assert world.ask("SELECT run_id, norm, metric, value, reason, detail FROM caption_checks ORDER BY metric") == [
        ("run-one", "a bus", "length", 5.0, None, None),
        ("run-one", "a cat", "repetition", 0.9, "caption_repetitive", "0.9 too much"),
    ]
    assert world.ask("SELECT candidate_id FROM pairs WHERE role = 'caption:coca'") == [(None,)]
    told = {
        one.about.split(": ")[1]: one.facts
        for one in (*explain(world.warehouse, row=1), *explain(world.warehouse, row=2))
    }
    assert "caption by coca 'A bus': may stay" in told["http://h/a"]
    assert "caption by coca 'A cat': caption_repetitive (0.9 too much)" in told["http://h/b"]


@pytest.mark.parametrize("captioned", [False, True])
def test_captions_change_no_rows_fate(world: World, captioned: bool) -> None:
    log = [{"candidate_id": n, "url": "http://h/a", "texts": ["red bus"]} for n in (1, 2)]
    milled = world.mill(log, {"http://h/a": world.shot("a")})
    low = [{**row, "reason": "clip_score_low", "detail": "0.1 < 0.2"} for row in milled.judged]
    stays = {"image_id": A, "text_id": text_id_of("a bus"), "role": "caption:coca"}
    judged = world.part(schemas.JUDGED, [*low, *([stays] if captioned else [])])
    told = make_ledger(
        world.warehouse,
        milled.run.sifted,
        milled.run.looked,
        milled.run.joined,
        judged,
        world.folder(),
        published=True,
    )
    assert [row["reason"] for row in world.rows_in(told)] == ["clip_score_low", "clip_score_low"]
    assert check_ledger(world.warehouse, milled.run.candidates, told)["rejected"] == 2
