"""Every candidate has exactly one outcome, whatever happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warehouse import schemas
from warehouse.errors import LedgerError
from warehouse.ids import content_id
from warehouse.ledger import check_ledger, funnel
from warehouse.reasons import ORDER
from warehouse.scores import Rules

if TYPE_CHECKING:
    from conftest import Milled, World

Row = dict[str, Any]
URLS = [f"http://a.example/{n}" for n in range(8)]
TEXTS = ("poor", "mute", "good", "better", "best")
VECTORS: dict[str, tuple[float, ...]] = {"poor": (0.1,), "good": (0.5,), "better": (0.6,), "best": (0.7,)}
RULES = Rules(min_score=0.2, max_score=None, top_fraction=None, texts_per_image=2)

ROW = st.fixed_dictionaries(
    {
        "url": st.sampled_from(URLS),
        "texts": st.lists(
            st.one_of(st.sampled_from(TEXTS), st.tuples(st.just("pii"), st.just("text_pii"))), min_size=1, max_size=3
        ),
        "reason": st.sampled_from([None] * 7 + ["malformed_url", "low_ctr", "text_pii"]),
        "clicks": st.integers(0, 3),
    }
)
NEAR = st.sampled_from([(), (("good", "better"),), (("poor", "good", "best"),), (("mute", "good"), ("poor", "best"))])
# null: the fetch failed; else what the picture's bytes, hash and fate are
SHOT = st.one_of(st.none(), st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 0b111, -1]), st.booleans()))


@settings(max_examples=8, deadline=None)
@given(
    rows=st.lists(ROW, min_size=1, max_size=40),
    shots=st.lists(SHOT, min_size=len(URLS), max_size=len(URLS)),
    near=NEAR,
)
def test_every_candidate_has_the_outcome_that_it_should(
    bare: World, rows: list[Row], shots: list[Any], near: tuple[tuple[str, ...], ...]
) -> None:
    log = [{"candidate_id": n * 7 % 41, **row} for n, row in enumerate(rows)]
    log = [row for row in log if row["reason"] or any(isinstance(text, str) for text in row["texts"])]
    facts = {n: (phash, small) for n, phash, small in (shot for shot in shots if shot)}  # equal bytes, equal measures
    shown = {
        url: shot
        and bare.shot(
            f"bytes {shot[0]}",
            phash=facts[shot[0]][0],
            reason="image_too_small" if facts[shot[0]][1] else None,
            vector=(1.0,),
        )
        for url, shot in zip(URLS, shots, strict=True)
    }
    milled = bare.mill(log, shown, model="m", vectors=VECTORS, rules=RULES, near=near)
    assert sum(milled.counts[outcome] for outcome in ("kept", "rejected", "quarantined")) == len(log)
    assert set(milled.ledger) == {row["candidate_id"] for row in log}
    expected = _expected(log, shown, milled)
    found = {one: (row["outcome"], row["reason"], row["image_id"]) for one, row in milled.ledger.items()}
    assert found == expected


def _expected(log: list[Row], shown: dict[str, Any], milled: Milled) -> dict[int, tuple[str, str | None, int | None]]:
    """The contract, said again in Python over what was joined and judged."""
    own = [pair for pair in milled.judged if pair["better_text"] is None]
    fates = {(pair["image_id"], pair["text_id"]): pair["reason"] for pair in own}
    released = {key for key, reason in fates.items() if reason is None}
    images = {image for image, _ in released}
    first: dict[tuple[int, int], int] = {}
    for pair in own:
        key = (pair["image_id"], pair["text_id"])
        first[key] = min(first.get(key, 1 << 63), pair["candidate_id"])
    told: dict[int, tuple[str, str | None, int | None]] = {}
    for row in log:
        candidate, shot = row["candidate_id"], shown[row["url"]]
        brought = [pair for pair in milled.judged if pair["candidate_id"] == candidate]
        keys = {(pair["image_id"], pair["better_text"] or pair["text_id"]) for pair in brought}
        adds = {(pair["image_id"], pair["text_id"]) for pair in brought if pair["better_text"] is None}
        if row["reason"] is not None:
            told[candidate] = ("quarantined" if row["reason"] == "malformed_url" else "rejected", row["reason"], None)
        elif shot is None or shot.reason:
            told[candidate] = ("rejected", shot.reason if shot else "fetch_http_status", None)
        elif any(first[key] == candidate for key in adds & released):
            survivor = milled.joined[shot.image_id]["survivor"]
            assert survivor in images
            told[candidate] = ("kept", None, survivor)
        elif keys & released or (_shown(keys, images) and all(first[key] != candidate for key in adds)):
            told[candidate] = ("rejected", "duplicate", None)
        else:
            told[candidate] = (
                "rejected",
                min((fate for key in keys if (fate := fates[key])), key=ORDER.__getitem__),
                None,
            )
    return told


def _id_of(text: str) -> int:
    return content_id(text.encode())


def _shown(keys: set[tuple[int, int]], images: set[int]) -> bool:
    return any(image in images for image, _ in keys)


def test_the_smallest_id_that_brings_a_text_keeps_it_and_the_others_are_duplicates(bare: World) -> None:
    said = [(5, ["a cat"]), (3, ["a cat"]), (4, ["a cat", "a red cat"]), (1, [("x", "text_pii"), "a dog"])]
    log = [{"candidate_id": n, "url": URLS[n % 2], "texts": texts} for n, texts in said]
    shot = bare.shot("one picture at two addresses")
    milled = bare.mill(log, {URLS[0]: shot, URLS[1]: shot})
    assert {n: row["outcome"] for n, row in milled.ledger.items()} == {1: "kept", 3: "kept", 4: "kept", 5: "rejected"}
    assert milled.ledger[5]["reason"] == "duplicate"
    assert milled.ledger[5]["stage"] == "copies"
    assert milled.ledger[5]["detail"] == f"adds no new text to image {shot.image_id}"
    assert {row["image_id"] for row in milled.ledger.values()} == {shot.image_id, None}


def test_a_row_that_only_repeats_what_was_turned_away_is_told_so(bare: World) -> None:
    log = [{"candidate_id": n, "url": URLS[0], "texts": ["poor"]} for n in range(2)]
    shown = {URLS[0]: bare.shot("alone", vector=(1.0,))}
    milled = bare.mill(log, dict(shown), model="m", vectors=VECTORS, rules=RULES)
    assert {row["reason"] for row in milled.ledger.values()} == {"clip_score_low"}
    log += [{"candidate_id": 2, "url": URLS[0], "texts": ["good"]}]
    milled = bare.mill(log, dict(shown), model="m", vectors=VECTORS, rules=RULES)
    assert [milled.ledger[n]["reason"] for n in range(3)] == ["clip_score_low", "duplicate", None]
    log += [{"candidate_id": 3, "url": URLS[0], "texts": ["good", "mute"]}]  # mute is new, and turned away
    milled = bare.mill(log, dict(shown), model="m", vectors=VECTORS, rules=RULES)
    assert milled.ledger[3]["reason"] == "duplicate"


def test_a_row_that_brings_only_near_copies_is_a_duplicate_of_the_row_with_the_better_text(bare: World) -> None:
    said: list[tuple[list[str | tuple[str, str]], int]] = [
        (["good"], 1),
        (["better"], 5),
        (["good", "best"], 0),
        (["best"], 0),
    ]
    log = [{"candidate_id": n, "url": URLS[0], "texts": texts, "clicks": hits} for n, (texts, hits) in enumerate(said)]
    shot = bare.shot("seen", vector=(1.0,))
    milled = bare.mill(log, {URLS[0]: shot}, model="m", vectors=VECTORS, near=[("good", "better")])
    assert [milled.ledger[n]["reason"] for n in range(4)] == ["duplicate", None, None, "duplicate"]
    assert milled.ledger[0]["detail"] == f"adds only near copies of texts to image {shot.image_id}"
    assert milled.ledger[3]["detail"] == f"adds no new text to image {shot.image_id}"
    kept = {row["text_id"] for row in milled.judged if row["reason"] is None}
    assert kept == {_id_of("better"), _id_of("best")}


def test_a_near_copy_of_a_text_that_was_turned_away_is_told_why(bare: World) -> None:
    log = [{"candidate_id": n, "url": URLS[0], "texts": [text]} for n, text in enumerate(("a better", "poor"))]
    shown = {URLS[0]: bare.shot("seen", vector=(1.0,))}
    vectors = {**VECTORS, "a better": (0.1,)}
    near = [("a better", "poor")]
    milled = bare.mill(log, shown, model="m", vectors=vectors, rules=RULES, near=near)
    assert {row["reason"] for row in milled.ledger.values()} == {"clip_score_low"}
    assert milled.ledger[1]["detail"] == f"near copy of text {_id_of('a better')}: 0.1000 < 0.2000"
    log += [{"candidate_id": 2, "url": URLS[0], "texts": ["best"]}]
    milled = bare.mill(log, shown, model="m", vectors=vectors, rules=RULES, near=near)
    assert [milled.ledger[n]["reason"] for n in range(3)] == ["clip_score_low", "duplicate", None]


def test_without_publication_what_would_have_been_kept_is_not_published(bare: World) -> None:
    log = [{"candidate_id": n, "url": URLS[0], "texts": ["a cat"]} for n in range(2)]
    milled = bare.mill(log, {URLS[0]: bare.shot("held back")}, published=False)
    assert [milled.ledger[n]["reason"] for n in range(2)] == ["not_published", "duplicate"]
    assert milled.counts == {"kept": 0, "rejected": 2, "quarantined": 0, "candidates": 2}
    assert funnel(bare.warehouse, milled.run.ledger) == [("copies", "duplicate", 1), ("publish", "not_published", 1)]


def test_a_reason_of_another_packages_filter_is_told_at_its_stage(bare: World) -> None:
    log = [{"candidate_id": 0, "url": URLS[0], "texts": [("x", "text_rude")], "reason": "text_rude"}]
    log += [{"candidate_id": 1, "url": URLS[1], "texts": ["a cat"]}]
    milled = bare.mill(log, {URLS[0]: None, URLS[1]: bare.shot("meme", reason="image_meme")})
    assert [(milled.ledger[n]["stage"], milled.ledger[n]["reason"]) for n in range(2)] == [
        ("sift", "text_rude"),
        ("look", "image_meme"),
    ]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ([1, 2], "1 lost, 0 told twice"),
        ([1, 2, 3, 3], "0 lost, 1 told twice"),
        ([1, 2, 4], "1 lost"),
        ([1, 2, 3, 4], "3 candidates, 4 rows; 0 lost"),
    ],
)
def test_a_candidate_that_is_lost_or_told_twice_stops_the_run(bare: World, told: list[int], said: str) -> None:
    candidates = bare.part(schemas.CANDIDATES, [{"candidate_id": n} for n in (1, 2, 3)])
    ledger = bare.part(schemas.LEDGER, [{"candidate_id": n, "outcome": "kept"} for n in told])
    with pytest.raises(LedgerError, match=said):
        check_ledger(bare.warehouse, candidates, ledger)


def test_a_candidate_that_no_stage_told_of_stops_the_run(bare: World) -> None:
    candidates = bare.part(schemas.CANDIDATES, [{"candidate_id": 1}])
    with pytest.raises(LedgerError, match="1 without an outcome"):
        check_ledger(bare.warehouse, candidates, bare.part(schemas.LEDGER, [{"candidate_id": 1}]))
