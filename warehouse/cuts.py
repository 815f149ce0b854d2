"""What policies ask of pairs, one after the other: cuts of measures, and the better of two kinds of texts.

They change the table `tested`, which has a row a pair and role, with `model`, `score`, `native` (people wrote its
text), and `failed` and `why` where something before has turned the row away; measures are rows of `metrics_in`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import duckdb

from warehouse.lake import quoted

CAPTION = "caption:"
"""Begins the role of a text that a model wrote."""


@dataclass(frozen=True)
class Cut:
    """Pairs stay whose value of `metric` is at least `least`, or is among a fraction of the pairs.

    `key` names the policy in details and frozen cuts. A fraction is of all pairs that the metric has a value for, or
    of those that are left; DataComp's rule: the cut is the (n * fraction)-th value from above, of one model's pairs.
    Where people's texts are among them, the fraction is of these, and captions are held against the same cut.
    """

    key: str
    metric: str
    code: Literal["clip_score_low", "not_mutual", "not_selected"]
    least: float | None
    fraction: float | None = None
    of: Literal["all", "left"] = "all"


@dataclass(frozen=True)
class BestSource:
    """Texts of people and of models stay on a picture that none of the other kind scores better than by a margin.

    `margin` is what a model's text must be ahead by.
    """

    margin: float


@dataclass(frozen=True)
class Policies:
    """What is asked in which order, and the parts of SCORES that hold the measures."""

    asked: tuple[Cut | BestSource, ...] = ()
    metrics: tuple[str, ...] = ()


def apply(
    con: duckdb.DuckDBPyConnection, asked: Sequence[Cut | BestSource], names: Mapping[str, str]
) -> dict[str, float]:
    """Turn away from `tested` what policies do not let stay; the frozen cuts. `names` are those of models."""
    frozen: dict[str, float] = {}
    for one in asked:
        if isinstance(one, BestSource):
            con.execute(_best(one.margin))
        else:
            frozen |= _cut(con, one, names)
    return frozen


def _cut(con: duckdb.DuckDBPyConnection, cut: Cut, names: Mapping[str, str]) -> dict[str, float]:
    con.execute(
        """CREATE OR REPLACE TEMP TABLE valued AS
           SELECT image_id, text_id, model, min(value) AS value FROM metrics_in WHERE metric = $1 GROUP BY ALL""",
        [cut.metric],
    )
    bounds = {"": cut.least} if cut.least is not None else _reached(con, cut)
    bound = f"CASE coalesce(t.model, '') {_whens(bounds)} END" if cut.least is None else _number(cut.least)
    fails = f"failed IS NULL AND coalesce(value < {bound} OR isnan(value), true)"
    told = f"coalesce(printf('%s %.4f < %.4f', {quoted(cut.key)}, value, {bound}), {quoted(cut.key + ': no value')})"
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE tested AS
            SELECT t.* REPLACE (CASE WHEN {fails} THEN {quoted(cut.code)} ELSE failed END AS failed,
                                CASE WHEN {fails} THEN {told} ELSE why END AS why)
            FROM tested t LEFT JOIN valued v ON v.image_id = t.image_id AND v.text_id = t.text_id
                                            AND v.model = coalesce(t.model, '')"""
    )
    alone = len(names) <= 1 or cut.least is not None
    return {cut.key if alone else f"{cut.key}:{names.get(model, model)}": value for model, value in bounds.items()}


def _reached(con: duckdb.DuckDBPyConnection, cut: Cut) -> dict[str, float]:
    """By model the value at the place of the fraction."""
    left = "WHERE failed IS NULL" if cut.of == "left" else ""
    rows = con.execute(
        f"""WITH asked AS (SELECT DISTINCT image_id, text_id, coalesce(model, '') AS model, native FROM tested {left}),
            pool AS (SELECT model, value FROM valued JOIN asked USING (image_id, text_id, model)
                     WHERE NOT isnan(value) QUALIFY native OR NOT bool_or(native) OVER (PARTITION BY model)),
            ranked AS (SELECT model, value, row_number() OVER (PARTITION BY model ORDER BY value DESC) AS place,
                              count(*) OVER (PARTITION BY model) AS pairs FROM pool)
            SELECT model, value FROM ranked WHERE place = 1 + least(pairs - 1, floor(pairs * $1)::BIGINT)
            ORDER BY model""",
        [cut.fraction],
    ).fetchall()
    return dict(rows)


def _whens(bounds: Mapping[str, float]) -> str:
    return (
        " ".join(f"WHEN {quoted(model)} THEN {_number(value)}" for model, value in bounds.items()) or "WHEN '' THEN 0"
    )


def _number(value: float) -> str:
    """A number as values are stored, in 32 bits; DuckDB takes a bare one for a decimal and rounds to another float."""
    return f"'{value!r}'::DOUBLE::FLOAT"


def _best(margin: float) -> str:
    ahead = f"'{margin!r}'::DOUBLE"
    worse = f"""CASE WHEN failed IS NOT NULL THEN NULL
                     WHEN native AND score < best_caption - {ahead} THEN 'caption_better'
                     WHEN NOT native AND score - {ahead} < best_native THEN 'not_selected' END"""
    told = f"""CASE worse WHEN 'caption_better'
                          THEN printf('%.4f < %.4f of a caption - %g', score, best_caption, {ahead})
                          ELSE printf('%.4f - %g < %.4f of a text of people', score, {ahead}, best_native) END"""
    return f"""
        CREATE OR REPLACE TEMP TABLE tested AS
        WITH best AS (SELECT image_id, model, max(score) FILTER (native) AS best_native,
                             max(score) FILTER (NOT native) AS best_caption
                      FROM tested WHERE failed IS NULL GROUP BY image_id, model),
        held AS (SELECT t.*, {worse} AS worse, best_native, best_caption
                 FROM tested t LEFT JOIN best b ON b.image_id = t.image_id AND b.model = t.model)
        SELECT * EXCLUDE (worse, best_native, best_caption)
                 REPLACE (coalesce(failed, worse) AS failed, CASE WHEN worse IS NULL THEN why ELSE {told} END AS why)
        FROM held"""
