"""Pairs of a run: every text that may stay with the picture that stands for its row, scored and judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import schemas
from warehouse.ids import fingerprint
from warehouse.lake import connect, quoted, sized, view, write

TEXTS_A_PART = 4096

SURVIVOR = "survivor\x1f"  # no URL of a log has a control character
"""Stands before the id of a picture of an earlier run, where a part of this run has a URL."""


@dataclass(frozen=True)
class Rules:
    """Which scored pairs stay; null asks nothing. Without a model no pair has a score and only the cap applies."""

    min_score: float | None
    max_score: float | None
    top_fraction: float | None
    texts_per_image: int | None


def make_pairs(warehouse: str, sifted: str, texts: str, looked: Sequence[str], joined: str, out: Path) -> str:
    """Write `pairs.parquet`: one row per candidate and text, on the survivor of the candidate's picture."""
    with connect(warehouse) as con:
        view(con, "sifted", [sifted], schemas.SIFTED)
        view(con, "told", [texts], schemas.SIFTED_TEXTS)
        view(con, "looked", looked, schemas.LOOKED)
        view(con, "joined", [joined], schemas.JOINED)
        query = """
            SELECT j.survivor AS image_id, t.text_id, t.role, s.candidate_id, l.image_id AS own_image
            FROM sifted s JOIN looked l USING (url) JOIN joined j ON j.image_id = l.image_id
            JOIN told t ON t.candidate_id = s.candidate_id
            WHERE s.reason IS NULL AND l.reason IS NULL AND j.reason IS NULL AND t.reason IS NULL
            ORDER BY 1, 2, 3, 4"""
        return write(con, query, str(out / "pairs.parquet"))


def missing_texts(warehouse: str, pairs: str, texts: str, model: str, folder: Path) -> list[str]:
    """Write the texts of `pairs` that have no embedding by `model` yet to Parquet parts named by what they hold."""
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        view(con, "told", [texts], schemas.SIFTED_TEXTS)
        rows = con.execute(
            """SELECT text_id, any_value(norm) AS norm FROM told
               WHERE text_id IN (SELECT text_id FROM pairs_in) AND text_id NOT IN
                     (SELECT subject_id FROM lake.embeddings WHERE subject = 'text' AND model = $1)
               GROUP BY text_id ORDER BY text_id""",
            [model],
        ).to_arrow_reader(TEXTS_A_PART)
        return [_text_part(table, folder) for table in sized(rows, TEXTS_A_PART)]


def _text_part(texts: pa.Table, folder: Path) -> str:
    name = folder / f"{fingerprint(*map(str, texts['text_id'].to_pylist()))}.parquet"
    name.parent.mkdir(parents=True, exist_ok=True)
    aside = name.with_name(f".{name.name}.writing")
    pq.write_table(texts, aside)
    aside.replace(name)
    return str(name)


def missing_pictures(warehouse: str, pairs: str, looked: Sequence[str], model: str, out: Path) -> str | None:
    """Write survivors of earlier runs that have no embedding by `model` as a fetch part, to be looked at again.

    The part is named by what it holds. Its URLs are SURVIVOR with the picture's id: the address may show another
    picture by now, and stand in this run with a row of its own.
    """
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        view(con, "looked", looked, schemas.LOOKED)
        con.execute(f"CREATE TEMP TABLE wanted AS {_WANTED}", [model])
        ids = [str(row[0]) for row in con.execute("SELECT image_id FROM wanted ORDER BY image_id").fetchall()]
        if not ids:
            return None
        query = f"""
            SELECT {quoted(SURVIVOR)} || image_id AS url, NULL::VARCHAR AS reason, NULL::VARCHAR AS detail, p.bytes,
                   i.sha256, i.md5, i.nbytes, i.url AS final_url, i.content_type, i.consent, i.fetched_at,
                   1::INTEGER AS attempts
            FROM lake.pixels p JOIN lake.images i USING (image_id) WHERE image_id IN (SELECT image_id FROM wanted)"""
        return write(con, query, str(out / f"survivors-{fingerprint(*ids)}.parquet"), row_group=256)


_WANTED = """
    SELECT DISTINCT image_id FROM pairs_in
    WHERE image_id NOT IN (SELECT image_id FROM looked WHERE embedding IS NOT NULL)
      AND image_id NOT IN (SELECT subject_id FROM lake.embeddings WHERE subject = 'picture' AND model = $1)"""


def judge(
    warehouse: str,
    pairs: str,
    looked: Sequence[str],
    embedded: Sequence[str],
    model: str | None,
    rules: Rules,
    out: Path,
) -> tuple[str, dict[str, float]]:
    """Write `judged.parquet`: each pair with its score and, where it may not stay, the reason; and the frozen cuts."""
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        view(con, "looked", looked, schemas.LOOKED)
        view(con, "embedded", embedded, schemas.EMBEDDED)
        con.execute(f"CREATE TEMP TABLE scored AS {_scored(model)}")
        cuts = _cuts(con, rules) if model is not None else {}
        name = write(con, _judged(rules, cuts, model), str(out / "judged.parquet"))
    (out / "cuts.json").write_text(json.dumps(cuts))
    return name, cuts


def _scored(model: str | None) -> str:
    """Each pair once per bringer, with the cosine of the stored unit vectors."""
    if model is None:
        return "SELECT *, NULL::FLOAT AS score FROM pairs_in"
    stored = "SELECT subject_id, vector FROM lake.embeddings WHERE model = {} AND subject = {}"
    return f"""
        WITH pictures AS (SELECT image_id, arg_min(embedding, url) AS vector FROM looked WHERE embedding IS NOT NULL
                          GROUP BY image_id
                          UNION ALL BY NAME
                          SELECT subject_id AS image_id, vector FROM ({stored.format(quoted(model), "'picture'")})
                          WHERE subject_id NOT IN (SELECT image_id FROM looked WHERE embedding IS NOT NULL)),
        words AS (SELECT text_id, embedding AS vector FROM embedded
                  UNION ALL BY NAME
                  SELECT subject_id AS text_id, vector FROM ({stored.format(quoted(model), "'text'")})
                  WHERE subject_id NOT IN (SELECT text_id FROM embedded)),
        met AS (SELECT DISTINCT image_id, text_id FROM pairs_in),
        valued AS (SELECT met.*, list_dot_product(p.vector, w.vector)::FLOAT AS score
                   FROM met LEFT JOIN pictures p USING (image_id) LEFT JOIN words w USING (text_id))
        SELECT pairs_in.*, score FROM pairs_in JOIN valued USING (image_id, text_id)"""


def _cuts(con: duckdb.DuckDBPyConnection, rules: Rules) -> dict[str, float]:
    """The numbers that a pair's score is held against; a fraction becomes the score at that place of the pool.

    DataComp's rule: the cut is the (n * fraction)-th score from above, and a pair stays at or above it.
    """
    cuts: dict[str, float] = {}
    if rules.min_score is not None:
        cuts["min_score"] = rules.min_score
    if rules.max_score is not None:
        cuts["max_score"] = rules.max_score
    if rules.top_fraction is not None:
        found = con.execute(
            """WITH pool AS (SELECT DISTINCT image_id, text_id, score FROM scored WHERE score IS NOT NULL)
               SELECT score FROM pool ORDER BY score DESC
               LIMIT 1 OFFSET (SELECT least(count(*) - 1, floor(count(*) * $1)::BIGINT) FROM pool)""",
            [rules.top_fraction],
        ).fetchall()
        if found:
            cuts["top_fraction_score"] = found[0][0]
    return cuts


def _judged(rules: Rules, cuts: dict[str, float], model: str | None) -> str:
    """SQL that holds each score against the cuts, then caps the texts of a picture."""
    fails = [("score IS NULL", "clip_score_low", "'no score'")] if model is not None else []
    for key, sign, code in (
        ("min_score", "<", "clip_score_low"),
        ("top_fraction_score", "<", "clip_score_low"),
        ("max_score", ">", "clip_score_high"),
    ):
        if key in cuts:
            # a cut that is a score of the pool is compared as it is stored, in 32 bits; DuckDB takes a bare number for
            # a decimal and rounds that to another float
            told = f"printf('%.4f {sign} %.4f', score, {cuts[key]!r})"
            fails.append((f"score {sign} '{cuts[key]!r}'::DOUBLE::FLOAT", code, told))
    reason = " ".join(f"WHEN {test} THEN '{code}'" for test, code, _ in fails)
    detail = " ".join(f"WHEN {test} THEN {told}" for test, _, told in fails)
    cap = rules.texts_per_image
    over = f"failed IS NULL AND place > {cap}" if cap is not None else "false"
    return f"""
        WITH tested AS (SELECT *, {f"CASE {reason} END" if fails else "NULL::VARCHAR"} AS failed FROM scored),
        placed AS (SELECT *, dense_rank() OVER (PARTITION BY image_id, failed IS NULL
                                                ORDER BY score DESC NULLS LAST, text_id) AS place FROM tested)
        SELECT image_id, text_id, role, candidate_id, score,
               CASE WHEN {over} THEN 'not_selected' ELSE failed END AS reason,
               CASE WHEN {over} THEN place || ' > {cap or 0} texts' {detail} END AS detail
        FROM placed ORDER BY image_id, text_id, role, candidate_id"""
