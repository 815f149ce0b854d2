"""What costs nothing is decided over the whole input: clicks, top k, text frequency, the forgotten, what is left."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from filters.shingles import band_hashes, banding
from warehouse import schemas
from warehouse.ids import content_id
from warehouse.lake import connect
from warehouse.near_texts import Near
from warehouse.sift import Boilerplate, Clicks, sift, url_parts

if TYPE_CHECKING:
    from conftest import World

Row = dict[str, Any]
ZERO = Clicks(min_impressions=10, min_rate=0.01, prior_clicks=1, prior_skips=99, top_k=None)


def _sift(
    world: World,
    log: Sequence[Row],
    *,
    clicks: Clicks | None = ZERO,
    boilerplate: Boilerplate | None = None,
    texts: Sequence[Row] | None = None,
    faults: dict[int, tuple[str, str]] | None = None,
    near: Near | None = None,
) -> tuple[dict[int, Row], list[Row]]:
    """(sifted rows by candidate, texts told); a row's texts are its query unless `texts` says more."""
    log = [{"candidate_id": n, "source_row": n, "url": f"http://h.example/{n}.jpg", **row} for n, row in enumerate(log)]
    told = [{"candidate_id": n, "role": "query", "place": 0, "text_id": 1, "norm": "a cat"} for n in range(len(log))]
    faults = faults or {}
    rows = [
        {"candidate_id": row["candidate_id"], "host": "h.example", "reason": found[0], "detail": found[1]}
        for row in log
        for found in [faults.get(row["candidate_id"], (None, None))]
    ]
    sifted, out = sift(
        world.warehouse,
        world.part(schemas.CANDIDATES, log),
        [world.part(schemas.READ_ROWS, rows)],
        [world.part(schemas.READ_TEXTS, told if texts is None else texts)],
        clicks,
        boilerplate,
        world.folder(),
        near,
    )
    return {row["candidate_id"]: row for row in world.rows_in(sifted)}, world.rows_in(out)


def _reasons(sifted: dict[int, Row]) -> list[str | None]:
    return [sifted[n]["reason"] for n in sorted(sifted)]


def test_clicks_are_smoothed_by_the_prior_and_known_little_is_told_first(bare: World) -> None:
    log = [{"impressions": 9, "clicks": 9}, {"impressions": 10, "clicks": 0}, {"impressions": 10, "clicks": 1}]
    log += [{"impressions": 1000, "clicks": 10}, {"impressions": 1000, "clicks": 9}]
    sifted, _ = _sift(bare, log)
    # (0 + 1) / (10 + 100) = 0.0091, (1 + 1) / 110 = 0.018, 11 / 1100 = 0.01, 10 / 1100 = 0.0091
    assert _reasons(sifted) == ["too_few_impressions", "low_ctr", None, None, "low_ctr"]
    assert sifted[0]["detail"] == "9 < 10"
    assert sifted[1]["detail"] == "0.0091 < 0.01"


@pytest.mark.parametrize("clicks", [None, 5])
def test_without_a_column_of_impressions_nothing_is_judged(bare: World, clicks: int | None) -> None:
    sifted, _ = _sift(bare, [{"clicks": clicks, "query": "q"}] * 3, clicks=Clicks(10, 0.5, 1, 99, top_k=1))
    assert _reasons(sifted) == [None, None, None]


def test_impressions_alone_say_how_well_known_a_row_is(bare: World) -> None:
    sifted, _ = _sift(bare, [{"impressions": 500}, {"impressions": 3}])
    assert _reasons(sifted) == [None, "too_few_impressions"]


def test_the_best_rows_of_a_query_stay_by_rate_then_impressions_then_id(bare: World) -> None:
    shown = [(300, 9, "cat"), (100, 50, "cat"), (200, 101, "cat"), (100, 50, "cat"), (100, 2, "dog"), (1, 1, "cat")]
    log: list[Row] = [{"impressions": seen, "clicks": hits, "query": query} for seen, hits, query in shown]
    log += [{"impressions": 100, "clicks": 5}] * 4  # rows without a query compete with nobody
    sifted, _ = _sift(bare, log, clicks=Clicks(10, 0.01, 1, 99, top_k=2))
    # 102 / 300 = 0.34 > 51 / 200 = 0.255 twice, of which the smaller id stays, > 10 / 400 however often it was shown
    assert _reasons(sifted)[:6] == ["not_in_top_k", None, None, "not_in_top_k", None, "too_few_impressions"]
    assert _reasons(sifted)[6:] == [None] * 4
    assert [sifted[3]["detail"], sifted[0]["detail"]] == ["3 > 2", "4 > 2"]


def _texts(said: Sequence[tuple[int, str, int, str | None, int | None]]) -> list[Row]:
    return [
        {
            "candidate_id": candidate,
            "role": role,
            "place": ["query", "title", "surrounding"].index(role),
            "text_id": text_id,
            "norm": f"text {text_id}",
            "reason": reason,
            "detail": "told" if reason else None,
            "rank": rank,
        }
        for candidate, role, text_id, reason, rank in said
    ]


def test_a_text_with_more_than_ten_urls_of_the_whole_input_is_boilerplate(bare: World) -> None:
    # eleven URLs, of which one row is malformed and one is not clicked: they count all the same; one URL stands twice
    log: list[Row] = [{"impressions": 100, "clicks": 50} for _ in range(23)]
    log[0] = {"impressions": 1, "clicks": 0}
    log[22] = {**log[5], "url": "http://h.example/15.jpg"}
    said = [(n, "query", 1 if n < 11 else 2, None, None) for n in range(23) if n != 21]
    said += [(21, "query", 3, None, None)]
    sifted, told = _sift(
        bare, log, boilerplate=Boilerplate(10, 3), texts=_texts(said), faults={1: ("malformed_url", "no host")}
    )
    assert {row["text_id"]: row["reason"] for row in told} == {1: "text_boilerplate", 2: None, 3: None}
    assert _reasons(sifted)[:3] == ["too_few_impressions", "malformed_url", "text_boilerplate"]
    assert sifted[2]["detail"] == "query: 11 URLs > 10"
    assert _reasons(sifted)[11:] == [None] * 12


def test_an_earlier_filters_reason_goes_before_boilerplate_and_a_later_ones_after(bare: World) -> None:
    said = [(n, "query", 1, "text_too_short", 1) for n in range(3)] + [(n, "title", 2, "text_pii", 5) for n in range(3)]
    _, told = _sift(bare, [{}] * 3, clicks=None, boilerplate=Boilerplate(2, 3), texts=_texts(said))
    assert {row["role"]: row["reason"] for row in told} == {"query": "text_too_short", "title": "text_boilerplate"}


def test_a_row_goes_for_its_texts_only_when_every_one_does_with_the_first_roles_reason(bare: World) -> None:
    said = [
        (0, "title", 2, "text_too_short", 1),
        (0, "query", 1, "text_pii", 6),
        (1, "query", 1, "text_pii", 6),
        (1, "surrounding", 3, None, None),
        (2, "title", 2, "text_too_short", 1),
    ]
    sifted, told = _sift(bare, [{}] * 3, clicks=None, texts=_texts(said))
    assert _reasons(sifted) == ["text_pii", None, "text_too_short"]
    assert [sifted[0]["detail"], sifted[2]["detail"]] == ["query: told", "title: told"]
    assert [row["reason"] for row in told if row["candidate_id"] == 1] == ["text_pii", None]


def test_what_was_forgotten_stays_out_and_a_malformed_row_says_so_first(world: World) -> None:
    with connect(world.warehouse) as con:
        con.execute("""INSERT INTO lake.tombstones BY NAME
            SELECT 'url' AS kind, 'http://h.example/1.jpg' AS value UNION ALL SELECT 'host', 'gone.example'""")
    rows = [{"candidate_id": n, "host": "gone.example" if n in (2, 3) else "h.example"} for n in range(4)]
    rows[3]["reason"] = "blocked_host"
    log = [{"candidate_id": n, "url": f"http://h.example/{n}.jpg", "impressions": 0} for n in range(4)]
    texts = [{"candidate_id": n, "role": "query", "place": 0, "text_id": 1} for n in range(4)]
    sifted, _ = sift(
        world.warehouse,
        world.part(schemas.CANDIDATES, log),
        [world.part(schemas.READ_ROWS, rows)],
        [world.part(schemas.READ_TEXTS, texts)],
        ZERO,
        None,
        world.folder(),
    )
    found = [(row["reason"], row["detail"]) for row in world.rows_in(sifted)]
    assert found[0][0] == "too_few_impressions"
    assert found[1:3] == [("tombstoned", "url forgotten"), ("tombstoned", "host forgotten")]
    assert found[3][0] == "blocked_host"


def test_the_parts_of_urls_are_distinct_and_the_same_whatever_the_order_of_rows(bare: World) -> None:
    rows: list[Row] = [{"candidate_id": n, "url": f"http://h{n % 3}.example/{n % 150}.jpg"} for n in range(400)]
    rows[7]["reason"] = "low_ctr"
    folder = bare.folder()
    parts = url_parts(bare.warehouse, bare.sifted(rows), folder)
    urls = [row["url"] for part in parts for row in bare.rows_in(part)]
    assert len(urls) == len(set(urls)) == 150
    assert [len(bare.rows_in(part)) for part in parts] == [64, 64, 22]
    random.Random(1).shuffle(rows)
    again = url_parts(bare.warehouse, bare.sifted(rows), bare.folder())
    assert [bare.rows_in(part) for part in again] == [bare.rows_in(part) for part in parts]
    assert [part.rsplit("/", 1)[1] for part in again] == [part.rsplit("/", 1)[1] for part in parts]
    assert url_parts(bare.warehouse, bare.sifted([{"candidate_id": 1, "reason": "low_ctr"}]), folder) == []


def test_a_text_that_varies_by_a_number_is_boilerplate_with_all_of_its_kind(bare: World) -> None:
    said = "Buy this beautiful picture, number {} in our shop, with free shipping and returns within seven days"
    norms = [said.format(n) for n in range(6)] + ["an old wooden boat lies on the shore of a quiet lake in the hills"]
    bands = band_hashes(pa.array(norms), 60, banding(0.8)).to_pylist()
    texts = [
        row | {"text_id": content_id(norm.encode()), "norm": norm, "bands": hashes}
        for norm, hashes, row in zip(norms, bands, _texts([(n, "query", 0, None, None) for n in range(7)]), strict=True)
    ]
    _, told = _sift(bare, [{}] * 7, clicks=None, boilerplate=Boilerplate(5, 3), texts=texts)
    assert {row["reason"] for row in told} == {None}
    assert all(row["text_group"] == row["text_id"] for row in told)
    _, told = _sift(bare, [{}] * 7, clicks=None, boilerplate=Boilerplate(5, 3), texts=texts, near=Near(0.8))
    assert [row["reason"] for row in told] == ["text_boilerplate"] * 6 + [None]
    assert told[0]["detail"] == "6 URLs of near texts > 5"
    assert {row["text_group"] for row in told[:6]} == {min(row["text_id"] for row in told[:6])}
    assert told[6]["text_group"] == told[6]["text_id"]
