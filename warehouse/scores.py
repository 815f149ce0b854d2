"""Scores of pairs by the models of a recipe, and which pairs stay for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa

from warehouse import schemas
from warehouse.cosines import vectors_of
from warehouse.cuts import CAPTION, Policies, apply
from warehouse.lake import connect, quoted, view, write

Bound = float | Mapping[str, float] | None
"""Of a score: one for the only model, or one a model by its name; null asks nothing."""


@dataclass(frozen=True)
class Scorer:
    """A model that scores pairs: its `name` in the recipe, its identity `model`, and the `languages` that it reads."""

    name: str
    model: str
    languages: tuple[str, ...] | None


@dataclass(frozen=True)
class Said:
    """A head that pairs are judged by: its name, the hash of its file, and the bound that it must keep.

    `code` is `not_selected`, for a value under the bound, or `image_unsafe`, for one that reaches it: the look turns
    such pictures away, but for those that an earlier run has kept.
    """

    name: str
    head: str
    code: Literal["not_selected", "image_unsafe"]
    bound: float


@dataclass(frozen=True)
class Rules:
    """Which scored pairs stay; null asks nothing. Without a model no pair has a score and only the caps apply.

    A text that is near another counts as that. Texts have their pictures first: what a picture loses by that leaves
    room for its other texts. Captions and texts of people are capped apart, and a fraction is of the latter where
    there are any: no text of people goes because a caption joined.
    """

    min_score: Bound
    max_score: Bound
    top_fraction: float | None
    texts_per_image: int | None
    images_per_text: int | None = None


@dataclass(frozen=True)
class _Cut:
    """A number that the scores of one model are held against."""

    key: str
    model: str
    sign: str
    code: str
    value: float


def score(
    warehouse: str,
    pairs: str,
    pictures: Sequence[str],
    texts: Sequence[str],
    scorers: Sequence[Scorer],
    out: Path,
) -> str:
    """Write `cosines.parquet`, the cosines of all pairs by each model that has the language of the text; its name.

    What the warehouse has scored before is taken from there. `pictures` and `texts` are parts of vectors; what they
    lack is taken from the warehouse too.
    """
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        view(con, "pictures_in", pictures, schemas.VECTORS)
        view(con, "texts_in", texts, schemas.VECTORS)
        con.register("scorers", _table(scorers))
        con.execute(_MET)
        con.execute(_STORED)
        con.execute(_MADE)
        return write(con, _COSINES, str(out / "cosines.parquet"))


def judge(
    warehouse: str,
    pairs: str,
    looked: Sequence[str],
    cosines: str,
    scorers: Sequence[Scorer],
    said: Sequence[Said],
    rules: Rules,
    policies: Policies,
    out: Path,
) -> tuple[str, str, dict[str, float]]:
    """Write `judged.parquet` and `scores.parquet`; their names, and the frozen cuts.

    The first: each pair with the cosine of the first of `scorers` that has the language of its text and, where it may
    not stay, the reason; what has a `better_text` makes no pair and is told as a duplicate of it. The second: the
    `cosines` that `score` wrote and the measures of policies. `said` are the heads that pairs are judged by.
    """
    with connect(warehouse) as con:
        scored(con, pairs, cosines, scorers)
        view(con, "metrics_in", policies.metrics, schemas.SCORES)
        _hear(con, looked, said)
        cuts = [cut for scorer in scorers for cut in _cuts(con, rules, scorer, alone=len(scorers) == 1)]
        con.execute(_tested(cuts, said, scored=bool(scorers)))
        frozen = {cut.key: cut.value for cut in cuts}
        frozen |= apply(con, policies.asked, {scorer.model: scorer.name for scorer in scorers})
        scores = write(con, _SCORES, str(out / "scores.parquet"))
        name = write(con, _judged(rules), str(out / "judged.parquet"))
    (out / "cuts.json").write_text(json.dumps(frozen))
    return name, scores, frozen


def scored(con: duckdb.DuckDBPyConnection, pairs: str, cosines: str, scorers: Sequence[Scorer]) -> None:
    """A table `scored` of the pairs with `model` and `score`: those of the first model that has the text's language.

    `native` are those whose text people wrote of the picture, whether a captioner wrote the same or not.
    """
    view(con, "pairs_in", [pairs], schemas.PAIRS)
    view(con, "cosines_in", [cosines], schemas.SCORES)
    con.register("scorers", _table(scorers))
    con.execute(_MET)
    con.execute(_SCORED)


def _table(scorers: Sequence[Scorer]) -> pa.Table:
    languages = [list(one.languages) if one.languages is not None else None for one in scorers]
    return pa.table(
        {
            "place": pa.array(range(len(scorers)), pa.int32()),
            "model": pa.array([one.model for one in scorers], pa.string()),
            "languages": pa.array(languages, pa.list_(pa.string())),
        }
    )


def _hear(con: duckdb.DuckDBPyConnection, looked: Sequence[str], said: Sequence[Said]) -> None:
    """A table `heads_in` of what the heads say of the pictures."""
    view(con, "looked", looked, schemas.LOOKED)
    con.execute("CREATE TEMP TABLE heads_in (image_id BIGINT, head VARCHAR, value FLOAT)")
    for one in said:
        con.execute(f"INSERT INTO heads_in {_SAID}", [one.name, one.head])


# what a head says of every picture: in this run, or in an earlier one by the very same head
_SAID = """
    WITH own AS (SELECT image_id, min(head_values[list_position(heads, $1)]) AS value FROM looked
                 WHERE list_contains(heads, $1) GROUP BY image_id)
    SELECT image_id, $1 AS head, value FROM own
    UNION ALL
    SELECT image_id, $1, min(value) FROM lake.picture_scores
    WHERE metric = $1 AND head = $2 AND image_id NOT IN (SELECT image_id FROM own) GROUP BY image_id"""

_MET = """
    CREATE OR REPLACE TEMP TABLE met AS
    SELECT image_id, text_id, model, min(place) AS place FROM pairs_in
    JOIN scorers s ON s.languages IS NULL OR list_contains(s.languages, pairs_in.language)
    WHERE better_text IS NULL GROUP BY image_id, text_id, model"""

_STORED = """
    CREATE TEMP TABLE stored AS
    SELECT image_id, text_id, model, min(value) AS value FROM lake.scores
    SEMI JOIN met USING (image_id, text_id, model) WHERE metric = 'cosine' GROUP BY ALL"""

# the cosine of stored unit vectors, where it is not known yet
_MADE = f"""
    CREATE TEMP TABLE made AS
    WITH missing AS (SELECT image_id, text_id, model FROM met ANTI JOIN stored USING (image_id, text_id, model)),
    pictures AS (SELECT * FROM ({vectors_of("picture", "pictures_in")})
                 WHERE (subject_id, model) IN (SELECT (image_id, model) FROM missing)),
    words AS (SELECT * FROM ({vectors_of("text", "texts_in")})
              WHERE (subject_id, model) IN (SELECT (text_id, model) FROM missing))
    SELECT m.image_id, m.text_id, m.model, list_dot_product(p.vector, w.vector)::FLOAT AS value
    FROM missing m JOIN pictures p ON p.subject_id = m.image_id AND p.model = m.model
    JOIN words w ON w.subject_id = m.text_id AND w.model = m.model"""

_COSINES = """
    SELECT image_id, text_id, 'cosine' AS metric, model, value FROM (FROM stored UNION ALL FROM made)
    WHERE value IS NOT NULL ORDER BY model, image_id, text_id"""

_SCORED = f"""
    CREATE TEMP TABLE scored AS
    WITH first AS (
        SELECT image_id, text_id, model, value AS score FROM met
        LEFT JOIN cosines_in c USING (image_id, text_id, model)
        QUALIFY row_number() OVER (PARTITION BY image_id, text_id ORDER BY place) = 1)
    SELECT pairs_in.*, first.model, first.score,
           bool_or(NOT coalesce(starts_with(role, {quoted(CAPTION)}), false))
               OVER (PARTITION BY image_id, text_id) AS native
    FROM pairs_in LEFT JOIN first USING (image_id, text_id)
    WHERE better_text IS NULL"""

_SCORES = """
    FROM cosines_in UNION ALL SELECT DISTINCT image_id, text_id, metric, model, value FROM metrics_in
    ORDER BY metric, model, image_id, text_id"""


def _cuts(con: duckdb.DuckDBPyConnection, rules: Rules, scorer: Scorer, *, alone: bool) -> list[_Cut]:
    """What the scores of one model are held against; a fraction becomes the score at that place of its pool.

    DataComp's rule: the cut is the (n * fraction)-th score from above, and a pair stays at or above it. The pool has
    the pairs of people's texts, and those of captions only where there are no others.
    """
    end = "" if alone else f":{scorer.name}"
    cuts = []
    least, most = (_of_model(bound, scorer.name) for bound in (rules.min_score, rules.max_score))
    if least is not None:
        cuts.append(_Cut(f"min_score{end}", scorer.model, "<", "clip_score_low", least))
    if rules.top_fraction is not None:
        found = con.execute(
            """WITH pool AS (SELECT DISTINCT image_id, text_id, score FROM scored
                             WHERE score IS NOT NULL AND model = $2 QUALIFY native OR NOT bool_or(native) OVER ())
               SELECT score FROM pool ORDER BY score DESC
               LIMIT 1 OFFSET (SELECT least(count(*) - 1, floor(count(*) * $1)::BIGINT) FROM pool)""",
            [rules.top_fraction, scorer.model],
        ).fetchall()
        cuts += [_Cut(f"top_fraction_score{end}", scorer.model, "<", "clip_score_low", row[0]) for row in found]
    if most is not None:
        cuts.append(_Cut(f"max_score{end}", scorer.model, ">", "clip_score_high", most))
    return cuts


def _of_model(bound: Bound, name: str) -> float | None:
    return bound.get(name) if isinstance(bound, Mapping) else bound


def _heard(said: Said) -> tuple[str, str, str]:
    """Test, reason and detail of a head's bound; a value that is none, or no number, is not enough."""
    value, name = f"said[{quoted(said.name)}]", quoted(said.name)
    bound = f"'{said.bound!r}'::DOUBLE::FLOAT"
    if said.code == "image_unsafe":
        return f"{value} >= {bound}", said.code, f"printf('%s %.2f; under %g', {name}, {value}, {said.bound!r})"
    told = f"coalesce(printf('%s %.2f < %g', {name}, {value}, {said.bound!r}), {quoted(said.name + ': no value')})"
    return f"coalesce({value} < {bound} OR isnan({value}), true)", said.code, told


def _tested(cuts: Sequence[_Cut], said: Sequence[Said], *, scored: bool) -> str:
    """SQL that holds each score against the cuts of its model, and what heads say against their bounds."""
    fails = []
    if scored:
        fails.append(("model IS NULL", "clip_score_low", "'no model for its language'"))
        fails.append(("score IS NULL OR isnan(score)", "clip_score_low", "'no score'"))
    for cut in cuts:
        # a cut that is a score of the pool is compared as it is stored, in 32 bits; DuckDB takes a bare number for a
        # decimal and rounds that to another float
        test = f"model = {quoted(cut.model)} AND score {cut.sign} '{cut.value!r}'::DOUBLE::FLOAT"
        fails.append((test, cut.code, f"printf('%.4f {cut.sign} %.4f', score, {cut.value!r})"))
    fails += [_heard(one) for one in said]
    reason = " ".join(f"WHEN {test} THEN '{code}'" for test, code, _ in fails)
    detail = " ".join(f"WHEN {test} THEN {told}" for test, _, told in fails)
    return f"""
        CREATE TEMP TABLE tested AS
        SELECT s.* EXCLUDE (said), {f"CASE {reason} END" if fails else "NULL::VARCHAR"} AS failed,
               {f"CASE {detail} END" if fails else "NULL::VARCHAR"} AS why
        FROM (SELECT scored.*, said FROM scored LEFT JOIN
              (SELECT image_id, map(list(head), list(value)) AS said FROM heads_in GROUP BY ALL) USING (image_id)) s"""


def _judged(rules: Rules) -> str:
    """SQL that caps pictures of a text and texts of a picture among the rows that nothing has turned away."""
    return f"""
        WITH shown AS ({_capped("tested", "text_group", "image_id", rules.images_per_text, "pictures")}),
        placed AS ({_capped("shown", "image_id", "text_id", rules.texts_per_image, "texts")})
        SELECT image_id, text_id, role, candidate_id, score, model, failed AS reason, why AS detail, better_text
        FROM placed
        UNION ALL
        SELECT image_id, text_id, role, candidate_id, NULL, NULL, 'duplicate', 'near copy of text ' || better_text,
               better_text
        FROM pairs_in WHERE better_text IS NOT NULL ORDER BY image_id, text_id, role, candidate_id"""


def _capped(rows: str, by: str, what: str, cap: int | None, things: str) -> str:
    """SQL for the rows; of each `by` and model the best `cap` of `what` stay, without scores those of smallest id.

    Those of captions are another `cap` than those of people's texts.
    """
    if cap is None:
        return f"SELECT * FROM {rows}"
    over = f"failed IS NULL AND place > {cap}"
    return f"""
        SELECT * EXCLUDE (place) REPLACE (CASE WHEN {over} THEN 'not_selected' ELSE failed END AS failed,
                                          CASE WHEN {over} THEN place || ' > {cap} {things}' ELSE why END AS why)
        FROM (SELECT *, dense_rank() OVER (PARTITION BY {by}, model, native, failed IS NULL
                                           ORDER BY score DESC NULLS LAST, {what}) AS place FROM {rows})"""
