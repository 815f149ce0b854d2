"""What a sample says of the whole: intervals hold what is true as often as they say, and closed ones are exact."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from actors.texts import Reader, ReadJob
from filters.recipe import Recipe
from tasks.forecast import Device, Range, devices, embedding_hours, growth, hours, reasons, sums, survivors, wilson
from tasks.forecast import total as expected_sum
from tasks.ordering import Cost, Order, expected
from tasks.progress import Clock, Lap
from warehouse import schemas
from warehouse.forecast import Drawn, Fate, Milled, Whole, draw, fates, kin
from warehouse.ingest import ingest
from warehouse.lake import connect, prepare, view, write
from warehouse.sift import Clicks, sift

MANY = 10**12
"""Rows of a source beside which no sample is a part of it."""

COSTS = st.builds(Cost, st.just("one"), st.floats(0.01, 100), st.floats(0, 0.99))


@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_interval_of_a_share_is_wilsons(drawn: int, part: float) -> None:
    found = round(drawn * part)
    share, known = wilson(found, drawn, MANY), binomtest(found, drawn).proportion_ci(method="wilson")
    assert (share.low, share.high) == pytest.approx((known.low, known.high), abs=1e-5)


@given(st.integers(1, 500), st.integers(0, 500), st.floats(0, 1))
def test_an_interval_holds_its_share_and_closes_as_the_sample_becomes_the_whole(
    drawn: int, more: int, part: float
) -> None:
    found = round(drawn * part)
    share = wilson(found, drawn, drawn + more)
    assert 0 <= share.low <= share.value <= share.high <= 1
    wide = wilson(found, drawn, drawn + more + 100)
    assert share.high - share.low <= wide.high - wide.low + 1e-12
    assert wilson(found, drawn, drawn) == Range(found / drawn, found / drawn, found / drawn)


@pytest.mark.parametrize("true", [20, 200, 1500])
def test_of_intervals_of_shares_95_in_100_hold_what_is_true(true: int) -> None:
    rows, drawn, rng = 4000, 500, np.random.default_rng(true)
    found = rng.hypergeometric(true, rows - true, drawn, 2000)
    held = [one.low * rows <= true <= one.high * rows for one in (wilson(int(k), drawn, rows) for k in found)]
    assert 0.93 <= np.mean(held) <= 0.98


def test_of_intervals_of_sums_95_in_100_hold_what_is_true() -> None:
    rng = np.random.default_rng(3)
    source = rng.gamma(2.0, 40_000, 5000) * (rng.random(5000) < 0.6)
    held = []
    for _ in range(1000):
        found = expected_sum(list(rng.choice(source, 600, replace=False)), len(source), 0)
        held.append(found.low <= source.sum() <= found.high)
    assert 0.93 <= np.mean(held) <= 0.97


@given(st.integers(2, 500), st.integers(1, 10**6))
def test_what_no_drawn_row_had_may_still_be_in_the_rest(drawn: int, more: int) -> None:
    none, share = expected_sum([0.0] * drawn, drawn + more, 3.0), wilson(0, drawn, drawn + more)
    assert (none.value, none.low) == (0, 0)
    assert none.high == pytest.approx(3 * share.high * (drawn + more))
    assert none.high > 0


def test_what_every_drawn_row_had_need_not_be_in_all_of_the_rest() -> None:
    all_of_them, share = expected_sum([2.0] * 100, 100_000, 1.0), wilson(100, 100, 100_000)
    assert (all_of_them.value, all_of_them.high) == (200_000, 200_000)
    assert all_of_them.low == pytest.approx(share.low * 200_000)
    assert expected_sum([0.0] * 100, 100, 1.0) == Range(0, 0, 0)
    assert expected_sum([2.0], 10, 2.0).low < 20


def test_a_url_of_several_rows_is_fetched_once_and_its_bytes_count_once() -> None:
    seen = [
        Fate(None, None, 2, 1000, True, 1, 3),
        Fate("copies", "duplicate", 2, 1000, True, 0, 3),
        Fate("look", "image_blank", 1, 50, False, 0, 0),
        Fate("sift", "low_ctr", 1, None, False, 0, 0),
        Fate("fetch", "fetch_http_status", 1, None, False, 0, 0),
    ]
    told = {name: one.value for name, one in sums(seen, Drawn(5, 4, 5), 9000).items()}
    assert told == pytest.approx(
        {
            "urls_to_fetch": 3,
            "pictures": 2,
            "bytes_to_fetch": 1050,
            "bytes_to_keep": 1000,
            "pairs": 4,
            "pairs_of_captions": 3,
        }
    )


def test_fates_add_up_by_reason_and_by_stage() -> None:
    seen = [Fate(None, None, 1, 9, True, 1, 0)] * 3 + [Fate("sift", "low_ctr", 1, None, False, 0, 0)] * 5
    seen += [Fate("look", "mine", 1, 9, False, 0, 0)]
    by_reason, left = reasons(seen, Drawn(90, 90, 9)), survivors(seen, Drawn(90, 90, 9))
    assert [(one.reason, one.drawn) for one in by_reason] == [("low_ctr", 5), ("mine", 1), ("kept", 3)]
    assert by_reason[-1].rows.value == pytest.approx(30)
    assert {one.stage: one.drawn for one in left} == {
        "ingest": 9, "sift": 4, "fetch": 4, "look": 3, "copies": 3, "align": 3, "select": 3,
    }  # fmt: skip


ASKED: dict[str, Any] = {
    "name": "asked",
    "texts": {"roles": ["title"], "filters": [{"filter": "text_too_short", "words": 3}]},
    "click_through": {"min_impressions": 1, "min_rate": 0.01, "prior_clicks": 0, "prior_skips": 0},
}
SIZE = 1000
"""Bytes of every picture of the made-up log."""


def _sifted(lake: str, part: str, out: Path) -> tuple[str, str]:
    reader, bounds = Reader(Recipe.model_validate(ASKED)), Clicks(1, 0.01, 0, 0, None)
    jobs = [
        ReadJob(part, n, str(out / f"rows-{n}.parquet"), str(out / f"texts-{n}.parquet"))
        for n in range(pq.ParquetFile(part).num_row_groups)
    ]
    for job in jobs:
        reader(job)
    return sift(lake, part, [job.rows for job in jobs], [job.texts for job in jobs], bounds, None, out)


def _milled(lake: str, log: str, out: Path) -> Milled:
    """As if the sample had been milled: whatever passes the sift comes and has one caption; repeats are duplicates."""
    ingest(log, str(out / "candidates.parquet"), lake)
    sifted, _ = _sifted(lake, str(out / "candidates.parquet"), out)
    with connect(lake) as con:
        view(con, "sifted", [sifted], schemas.SIFTED)
        con.execute(
            """INSERT INTO lake.ledger BY NAME
               SELECT candidate_id, source_row, url, coalesce(reason, CASE WHEN row_number() OVER (
                   PARTITION BY url, reason ORDER BY candidate_id) > 1 THEN 'duplicate' END) AS reason FROM sifted"""
        )
        for name, columns in (("fetched", schemas.FETCHED), ("looked", schemas.LOOKED), ("judged", schemas.JUDGED)):
            view(con, f"no_{name}", [], columns)
            given = "url, 1000 AS nbytes" if name == "fetched" else "(hash(url) >> 1)::BIGINT AS image_id"
            given += ", url" if name == "looked" else ""
            urls = "(SELECT DISTINCT url FROM sifted WHERE reason IS NULL)"
            made = f"SELECT * FROM no_{name} UNION ALL BY NAME SELECT {given} FROM {urls}"
            write(con, made, str(out / f"{name}.parquet"))
    return Milled(log, [str(out / "fetched.parquet")], [str(out / "looked.parquet")], str(out / "judged.parquet"))


def test_a_url_counts_once_whichever_of_its_rows_pass(tmp_path: Path) -> None:
    rows = [
        {"url": f"http://h/{n}", "title": f"words of row {k if n % 3 == 1 else 0}", "impressions": 100, "clicks": 5}
        for n in range(999)
        for k in range(10)
    ]
    for place, row in enumerate(rows):
        number, turn = divmod(place, 10)
        # of a third of the URLs one row passes the clicks, of a third one the texts; of the others all do, as copies
        row["clicks"] = 0 if number % 3 == 0 and turn else 5
        row["title"] = "short" if number % 3 == 1 and turn else row["title"]
    lake = str(tmp_path / "lake")
    prepare(lake)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "log.parquet")
    whole, log = str(tmp_path / "whole.parquet"), str(tmp_path / "sample.parquet")
    ingest(str(tmp_path / "log.parquet"), whole, lake)
    drawn = draw(lake, whole, log, rows=2000, seed=0)
    milled = _milled(lake, log, tmp_path)
    (tmp_path / "kin").mkdir()
    beside = kin(lake, whole, log, str(tmp_path / "kin.parquet"))
    judged = Whole(whole, ("title",), None, *_sifted(lake, beside, tmp_path / "kin"))
    seen = fates(lake, milled, judged)
    told = sums(seen, drawn, 9000)
    kept = reasons(seen, drawn)[-1]
    assert kept.rows.low < 999 < kept.rows.high
    for name, true in {
        "urls_to_fetch": 999, "pictures": 999, "bytes_to_fetch": 999 * SIZE, "bytes_to_keep": 999 * SIZE,
        "pairs_of_captions": 999,
    }.items():  # fmt: skip
        assert told[name].low < true < told[name].high, name
        assert told[name].value == pytest.approx(true, rel=0.2), name


def _lap(parts: int, slots: int, start: float, each: float, rows: int = 64) -> Lap:
    """Actors that need `start` seconds and then `each` a row, `slots` parts at once, all as fast."""
    waves = [math.ceil((place + 1) / slots) for place in range(parts)]
    marks = [(start + wave * slots * rows * each, (place + 1) * rows) for place, wave in enumerate(waves)]
    return Lap("fetch", "fetch", marks[-1][0], marks)


@given(st.integers(2, 9), st.integers(1, 8), st.floats(0, 20), st.floats(0.0005, 0.5))
def test_starting_is_told_from_the_cost_of_a_row(waves: int, slots: int, start: float, each: float) -> None:
    found, cost = growth(_lap(waves * slots, slots, start, each), slots, 20)
    assert cost.value == pytest.approx(each, rel=1e-3)
    assert found == pytest.approx(start, abs=1e-3 * (start + 64 * each * waves * slots))
    assert cost.low <= cost.value <= cost.high


def test_one_wave_of_parts_tells_no_start_and_says_so_by_its_interval() -> None:
    lap = _lap(4, 8, 5, 0.01)
    start, each = growth(lap, 8, 100)
    assert start == 0
    assert (each.low, each.high) == pytest.approx((0, lap.seconds / 256))
    (told,) = hours(
        Clock({"ingest": 0, "fetch": lap.seconds}, [lap]), Range(25_600, 0, 0), Drawn(1, 1, 1), {"fetch": 8}
    )[1:]
    assert told.hours.low == pytest.approx(lap.seconds / 3600)
    assert told.hours.high == pytest.approx(100 * lap.seconds / 3600)
    assert told.hours.value == pytest.approx(10 * lap.seconds / 3600)


def test_steps_grow_by_what_they_work_on_and_what_was_not_seen_to_grow_has_a_bound() -> None:
    lap = _lap(16, 4, 2, 0.01)
    clock = Clock({"ingest": 7.0, "start": 3.0, "sift": 1.0, "fetch": lap.seconds + 1}, [lap])
    told = {
        one.step: one for one in hours(clock, Range(10_240, 10_000, 10_500), Drawn(20_000, 15_000, 2000), {"fetch": 4})
    }
    assert list(told) == ["ingest", "start", "sift", "fetch"]
    assert told["ingest"].hours.high == pytest.approx(7 / 3600)
    assert told["start"].hours.high == pytest.approx(3 / 3600)
    assert (told["sift"].hours.value, told["sift"].hours.high) == pytest.approx((1 / 3600, 10 / 3600))
    assert told["fetch"].units == pytest.approx(10_240)
    assert told["fetch"].hours.value == pytest.approx((1 + 2 + 102.4) / 3600, rel=1e-3)


def test_every_lap_of_a_step_grows() -> None:
    lap = _lap(16, 1, 0, 100 / 1024)
    laps = [Lap(name, "caption", lap.seconds, lap.marks) for name in ("one", "other")]
    clock = Clock({"ingest": 0.0, "caption": 200.0}, laps)
    told = hours(clock, Range(0, 0, 0), Drawn(100, 100, 1), {"caption": 1})[-1]
    assert told.hours.value == pytest.approx(20_000 / 3600)
    assert told.each.value * told.units == pytest.approx(20_000)
    assert told.start_s == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(st.lists(COSTS, min_size=1, max_size=5))
def test_no_order_of_filters_costs_less_than_that_of_their_ranks(costs: list[Cost]) -> None:
    order = Order("texts", 1, tuple(costs))
    least = min(expected(one) for one in itertools.permutations(costs))
    assert order.micros_best == pytest.approx(least)
    assert order.micros_asked >= least - 1e-9


def test_every_device_says_who_measured_it_and_when() -> None:
    told = devices()
    assert len({(one.name, one.model) for one in told}) == len(told) > 0
    for one in told:
        assert one.pictures_a_second > 0
        assert any(f"{year}" in one.source for year in range(2019, 2100))
    assert embedding_hours(Device("d", "m", 1000, "s"), Range(3.6e6, 0, 7.2e6)) == Range(
        pytest.approx(1), 0, pytest.approx(2)
    )
