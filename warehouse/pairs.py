"""Pairs of a run: every text that may stay with the picture that stands for its row, and what is to be embedded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import schemas
from warehouse.ids import fingerprint
from warehouse.lake import connect, quoted, sized, view, write
from warehouse.scores import Said, Scorer

TEXTS_A_PART = 4096

SURVIVOR = "survivor\x1f"  # no URL of a log has a control character
"""Stands before the id of a picture of an earlier run, where a part of this run has a URL."""


def make_pairs(warehouse: str, sifted: str, texts: str, looked: Sequence[str], joined: str, out: Path) -> str:
    """Write `pairs.parquet`: one row per candidate and text, on the survivor of the candidate's picture.

    Of near copies of one text on one picture one makes the pair; rows of the others name it as their `better_text`.
    """
    with connect(warehouse) as con:
        view(con, "sifted", [sifted], schemas.SIFTED)
        view(con, "told", [texts], schemas.SIFTED_TEXTS)
        view(con, "looked", looked, schemas.LOOKED)
        view(con, "joined", [joined], schemas.JOINED)
        return write(con, _PAIRED, str(out / "pairs.parquet"))


# the best of near copies is the one of most clicks on this picture, then the longest, then the smallest id
_PAIRED = """
    WITH brought AS (
        SELECT j.survivor AS image_id, t.text_id, t.role, t.language, s.candidate_id, l.image_id AS own_image,
               t.text_group, length(t.norm) AS characters, coalesce(s.clicks, 0) AS clicks
        FROM sifted s JOIN looked l USING (url) JOIN joined j ON j.image_id = l.image_id
        JOIN told t ON t.candidate_id = s.candidate_id
        WHERE s.reason IS NULL AND l.reason IS NULL AND j.reason IS NULL AND t.reason IS NULL),
    clicked AS (SELECT image_id, text_group, text_id, characters, sum(clicks) AS clicks
                FROM (SELECT DISTINCT image_id, text_group, text_id, characters, candidate_id, clicks FROM brought)
                GROUP BY ALL),
    best AS (SELECT image_id, text_group, arg_min(text_id, row(-clicks, -characters, text_id)) AS best
             FROM clicked GROUP BY image_id, text_group)
    SELECT image_id, text_id, role, language, candidate_id, own_image, text_group,
           CASE WHEN best <> text_id THEN best END AS better_text
    FROM brought JOIN best USING (image_id, text_group) ORDER BY image_id, text_id, role, candidate_id"""


def missing_texts(warehouse: str, pairs: str, texts: Sequence[str], scorer: Scorer, folder: Path) -> list[str]:
    """Write the texts of `pairs` that the scorer has yet to embed to Parquet parts named by what they hold."""
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        view(con, "told", texts, schemas.SIFTED_TEXTS)
        rows = con.execute(
            """SELECT text_id, any_value(norm) AS norm FROM told
               WHERE text_id IN (SELECT text_id FROM pairs_in
                                 WHERE better_text IS NULL AND ($2 IS NULL OR list_contains($2, language)))
                 AND text_id NOT IN
                     (SELECT subject_id FROM lake.embeddings WHERE subject = 'text' AND model = $1)
               GROUP BY text_id ORDER BY text_id""",
            [scorer.model, scorer.languages and list(scorer.languages)],
        ).to_arrow_reader(TEXTS_A_PART)
        return [_text_part(table, folder) for table in sized(rows, TEXTS_A_PART)]


def _text_part(texts: pa.Table, folder: Path) -> str:
    name = folder / f"{fingerprint(*map(str, texts['text_id'].to_pylist()))}.parquet"
    name.parent.mkdir(parents=True, exist_ok=True)
    aside = name.with_name(f".{name.name}.writing")
    pq.write_table(texts, aside)
    aside.replace(name)
    return str(name)


def missing_pictures(
    warehouse: str,
    pairs: str,
    looked: Sequence[str],
    vectors: Sequence[str],
    scorers: Sequence[Scorer],
    said: Sequence[Said],
    out: Path,
) -> str | None:
    """Write survivors of earlier runs that a scorer or a head has not seen as a fetch part, to be looked at again.

    Its URLs are none of the log's: an address may show another picture by now, and have a row of its own here.
    """
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        view(con, "vectors_in", vectors, schemas.VECTORS)
        con.execute("CREATE TEMP TABLE wanted (image_id BIGINT)")
        for scorer in scorers:
            con.execute(f"INSERT INTO wanted {_WANTED}", [scorer.model])
        view(con, "looked", looked, schemas.LOOKED)
        for head in said:
            con.execute(f"INSERT INTO wanted {_UNHEARD}", [head.name, head.head])
        return write_survivors(con, out)


def write_survivors(con: duckdb.DuckDBPyConnection, out: Path) -> str | None:
    """Write the pictures of the table `wanted`, out of the warehouse, as a fetch part; None where there are none.

    The part is named by what it holds, and its URLs are SURVIVOR with the picture's id.
    """
    ids = [str(row[0]) for row in con.execute("SELECT DISTINCT image_id FROM wanted ORDER BY image_id").fetchall()]
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
    WHERE image_id NOT IN (SELECT subject_id FROM vectors_in WHERE model = $1)
      AND image_id NOT IN (SELECT subject_id FROM lake.embeddings WHERE subject = 'picture' AND model = $1)"""

_UNHEARD = """
    SELECT DISTINCT image_id FROM pairs_in
    WHERE image_id NOT IN (SELECT image_id FROM looked WHERE list_contains(heads, $1))
      AND image_id NOT IN (SELECT image_id FROM lake.picture_scores WHERE metric = $1 AND head = $2)"""
