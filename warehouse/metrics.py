"""What a release to be looks like in numbers: aggregates over all of it, and a bounded sample of its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from warehouse import schemas
from warehouse.cuts import CAPTION
from warehouse.lake import connect, quoted, view
from warehouse.pairs import SURVIVOR


def measure_input(warehouse: str, candidates: str, read_rows: Sequence[str]) -> dict[str, Any]:
    """rows, urls, malformed_share, and an example of what is malformed, with its row."""
    with connect(warehouse) as con:
        view(con, "candidates_in", [candidates], schemas.CANDIDATES)
        view(con, "rows_in", read_rows, schemas.READ_ROWS)
        cursor = con.execute("""
            SELECT count(*) AS rows, count(url) AS urls,
                   avg((reason IN ('malformed_row', 'malformed_url'))::INTEGER::DOUBLE) AS share,
                   coalesce(arg_min('row ' || source_row || ': ' || coalesce(detail, reason), source_row)
                            FILTER (reason LIKE 'malformed%'), 'no row is malformed') AS example
            FROM (SELECT * REPLACE (coalesce(reason, '') AS reason)
                  FROM candidates_in JOIN rows_in USING (candidate_id))""")
        rows, urls, share, example = cursor.fetchall()[0]
    return {"rows": rows, "urls": urls, "malformed_share": share or 0.0, "example": example}


def measure_release(
    warehouse: str, texts: Sequence[str], looked: Sequence[str], judged: str, ledger: str
) -> dict[str, Any]:
    """One number a metric, computed by DuckDB over the run's parts; null where nothing was there to measure."""
    with connect(warehouse) as con:
        _views(con, texts, looked, judged, ledger)
        cursor = con.execute(_METRICS)
        names = [column[0] for column in cursor.description or []]
        return dict(zip(names, cursor.fetchall()[0], strict=True))


def sample_release(
    warehouse: str, texts: Sequence[str], looked: Sequence[str], judged: str, ledger: str, rows: int
) -> list[dict[str, Any]]:
    """At most `rows` pairs of the release to be, always the same ones, with url, sides, text and score."""
    with connect(warehouse) as con:
        _views(con, texts, looked, judged, ledger)
        table = con.execute(
            f"SELECT * FROM ({_PAIRS}) ORDER BY hash(image_id, text_id, role) LIMIT {rows}"
        ).to_arrow_table()
        sampled: list[dict[str, Any]] = table.to_pylist()
        return sampled


def _views(con: Any, texts: Sequence[str], looked: Sequence[str], judged: str, ledger: str) -> None:
    view(con, "told", texts, schemas.SIFTED_TEXTS)
    view(con, "looked", looked, schemas.LOOKED)
    view(con, "judged", [judged], schemas.JUDGED)
    view(con, "ledger_in", [ledger], schemas.LEDGER)


_PAIRS = f"""
    WITH own AS (SELECT * FROM looked WHERE image_id IS NOT NULL AND NOT starts_with(url, '{SURVIVOR}')),
    shown AS (SELECT image_id, min(url) AS url, any_value(width) AS width, any_value(height) AS height,
                          any_value(format) AS format FROM own GROUP BY image_id
                   UNION ALL BY NAME
                   SELECT image_id, url, width, height, format FROM lake.images
                   WHERE image_id NOT IN (SELECT image_id FROM own)),
    words AS (SELECT text_id, any_value(norm) AS text, any_value(language) AS language FROM told GROUP BY text_id),
    chosen AS (SELECT DISTINCT image_id, text_id, role, score FROM judged WHERE reason IS NULL)
    SELECT chosen.*, url, width, height, format, text, language
    FROM chosen LEFT JOIN shown USING (image_id) LEFT JOIN words USING (text_id)"""

_METRICS = f"""
    WITH p AS ({_PAIRS})
    SELECT (SELECT count(*) FROM ledger_in) AS candidates,
           (SELECT count(*) FROM ledger_in WHERE outcome = 'kept') AS kept,
           (SELECT count(*) FROM ledger_in WHERE outcome = 'kept') / greatest((SELECT count(*) FROM ledger_in), 1)
               AS kept_share,
           (SELECT count(*) FROM ledger_in WHERE outcome IS NULL) AS without_outcome,
           count(*) AS pairs, count(DISTINCT image_id) AS images, count(DISTINCT text_id) AS texts,
           count(*) - count(DISTINCT (image_id, text_id, role)) AS repeated_pairs,
           count(*) FILTER (width IS NULL) AS pairs_without_picture,
           count(*) FILTER (text IS NULL) AS pairs_without_text,
           count(DISTINCT (image_id, text_id)) / greatest(count(DISTINCT image_id), 1) AS texts_per_image,
           coalesce(avg(starts_with(role, {quoted(CAPTION)})::INTEGER), 0) AS share_captions,
           coalesce(avg((language = 'zh')::INTEGER), 0) AS share_zh,
           coalesce(avg((language = 'en')::INTEGER), 0) AS share_en,
           avg(length(text)) AS mean_characters, min(least(width, height)) AS smallest_side,
           min(score) AS score_min, median(score) AS score_median, max(score) AS score_max
    FROM p"""
