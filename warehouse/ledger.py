"""The ledger of a run: exactly one outcome for every candidate, with the first reason that applied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from warehouse import schemas
from warehouse.errors import LedgerError
from warehouse.lake import connect, quoted, view, write
from warehouse.reasons import ORDER, QUARANTINED, STAGE_OF


def make_ledger(
    warehouse: str,
    sifted: str,
    looked: Sequence[str],
    joined: str,
    judged: str,
    out: Path,
    *,
    published: bool,
) -> str:
    """Write `ledger.parquet`: LEDGER's columns, one row per candidate.

    A row whose texts all stand already with their picture in the release, brought by a row of smaller id or as better
    near copies, is a `duplicate`. Without publication every row that would have been kept is `not_published`.
    """
    with connect(warehouse) as con:
        view(con, "sifted", [sifted], schemas.SIFTED)
        view(con, "looked", looked, schemas.LOOKED)
        view(con, "joined", [joined], schemas.JOINED)
        view(con, "judged", [judged], schemas.JUDGED)
        con.execute(f"CREATE TEMP TABLE known_reasons AS SELECT * FROM (VALUES {_known()}) v(reason, place, stage)")
        con.execute(_BROUGHT)
        return write(con, _ledger(published), str(out / ("ledger.parquet" if published else "ledger.held.parquet")))


def _known() -> str:
    return ", ".join(f"({quoted(code)}, {place}, {quoted(STAGE_OF[code])})" for code, place in ORDER.items())


# what each candidate adds: the texts that it is the first to bring to the picture that stands for its own; a near copy
# adds nothing, and shares the fate of the better text
_BROUGHT = """
    CREATE TEMP TABLE brought AS
    WITH own AS (SELECT * FROM judged WHERE better_text IS NULL),
    firsts AS (SELECT image_id, text_id, min(candidate_id) AS candidate_id FROM own GROUP BY image_id, text_id),
    fates AS (SELECT image_id, text_id AS better_text, any_value(reason) AS reason, any_value(detail) AS detail
              FROM own GROUP BY image_id, text_id),
    shown AS (SELECT DISTINCT image_id FROM own WHERE reason IS NULL AND candidate_id IS NOT NULL),
    fated AS (SELECT image_id, text_id, role, candidate_id, reason, detail, false AS near FROM own
              UNION ALL
              SELECT j.image_id, j.text_id, j.role, j.candidate_id, f.reason,
                     'near copy of text ' || better_text || ': ' || f.detail, true
              FROM judged j JOIN fates f USING (image_id, better_text)),
    told AS (SELECT j.*, f.candidate_id IS NOT NULL AS adds, k.place
             FROM fated j LEFT JOIN firsts f USING (image_id, text_id, candidate_id)
             LEFT JOIN known_reasons k USING (reason))
    SELECT candidate_id, any_value(image_id) AS image_id, bool_or(adds AND reason IS NULL) AS kept,
           bool_or(adds) AS adds_any, bool_or(image_id IN (SELECT image_id FROM shown)) AS shown,
           bool_or(reason IS NULL) AS stands, bool_and(near) AS near,
           arg_min(reason, first) AS reason, arg_min(detail, first) AS detail
    FROM (SELECT *, row(coalesce(place, 999), list_position(['query', 'title', 'surrounding', 'alt'], role), text_id)
                        AS first FROM told) GROUP BY candidate_id"""


def _ledger(published: bool) -> str:
    quarantined = ", ".join(quoted(code) for code in QUARANTINED)
    held = "" if published else "WHEN b.kept THEN 'not_published'"
    return f"""
        WITH fated AS (
            SELECT s.candidate_id, s.source_row, s.url, b.kept AND {published} AS kept, b.image_id,
                   CASE WHEN s.reason IS NOT NULL THEN 'sift' WHEN l.reason IS NOT NULL THEN 'look' END AS asked,
                   CASE WHEN s.reason IS NOT NULL THEN s.reason
                        WHEN l.reason IS NOT NULL THEN l.reason
                        WHEN j.reason IS NOT NULL THEN j.reason
                        {held}
                        WHEN b.kept THEN NULL
                        WHEN b.stands OR (b.shown AND NOT b.adds_any) THEN 'duplicate'
                        ELSE b.reason END AS reason,
                   CASE WHEN s.reason IS NOT NULL THEN s.detail
                        WHEN l.reason IS NOT NULL THEN l.detail
                        WHEN j.reason IS NOT NULL THEN j.detail
                        WHEN b.kept THEN j.note
                        WHEN b.stands OR (b.shown AND NOT b.adds_any)
                        THEN 'adds ' || if(b.near, 'only near copies of texts', 'no new text') || ' to image '
                             || b.image_id
                        ELSE b.detail END AS detail
            FROM sifted s LEFT JOIN looked l ON s.reason IS NULL AND l.url = s.url
            LEFT JOIN joined j ON l.reason IS NULL AND j.image_id = l.image_id
            LEFT JOIN brought b ON b.candidate_id = s.candidate_id)
        SELECT f.candidate_id, f.source_row, f.url,
               CASE WHEN kept THEN 'kept' WHEN f.reason IN ({quarantined}) THEN 'quarantined'
                    WHEN f.reason IS NOT NULL THEN 'rejected' END AS outcome,
               CASE WHEN f.reason IS NOT NULL THEN coalesce(k.stage, f.asked, 'sift') END AS stage,
               f.reason, f.detail, CASE WHEN kept THEN f.image_id END AS image_id
        FROM fated f LEFT JOIN known_reasons k ON k.reason = f.reason ORDER BY f.candidate_id"""


def check_ledger(warehouse: str, candidates: str, ledger: str) -> dict[str, int]:
    """Counts by outcome; raises LedgerError where a candidate is missing, told twice or without an outcome."""
    with connect(warehouse) as con:
        view(con, "candidates_in", [candidates], schemas.CANDIDATES)
        view(con, "told", [ledger], schemas.LEDGER)
        rows, distinct, expected, lost, mute = con.execute(
            """SELECT (SELECT count(*) FROM told), (SELECT count(DISTINCT candidate_id) FROM told),
                      (SELECT count(*) FROM candidates_in),
                      (SELECT count(*) FROM candidates_in ANTI JOIN told USING (candidate_id)),
                      (SELECT count(*) FROM told WHERE outcome IS NULL)"""
        ).fetchall()[0]
        if lost or mute or rows != distinct or rows != expected:
            raise LedgerError(
                f"The ledger does not add up: {expected} candidates, {rows} rows; {lost} lost, "
                f"{rows - distinct} told twice, {mute} without an outcome.\n"
                "Nothing was published. This is a defect: report it with the run's folder."
            )
        counted = con.execute("SELECT outcome, count(*) FROM told GROUP BY outcome").fetchall()
    counts = {"kept": 0, "rejected": 0, "quarantined": 0} | dict(counted)
    return counts | {"candidates": rows}


def funnel(warehouse: str, ledger: str) -> list[tuple[str, str, int]]:
    """(stage, reason, rows) of what a run turned away, in the order of the stages."""
    with connect(warehouse) as con:
        view(con, "told", [ledger], schemas.LEDGER)
        rows = con.execute(
            "SELECT stage, reason, count(*) FROM told WHERE reason IS NOT NULL GROUP BY ALL ORDER BY reason"
        ).fetchall()
    return sorted(rows, key=lambda row: ORDER.get(row[1], len(ORDER)))
