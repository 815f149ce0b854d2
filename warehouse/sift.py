"""What costs nothing, set-wise: clicks, top k per query, frequency and near copies of texts, and the URLs left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from warehouse import schemas
from warehouse.ids import fingerprint
from warehouse.lake import connect, sized, view, write
from warehouse.near_texts import Near, group_texts


@dataclass(frozen=True)
class Clicks:
    """Bounds on a row's clicks: rates are smoothed by Beta(prior_clicks, prior_skips)."""

    min_impressions: int
    min_rate: float
    prior_clicks: float
    prior_skips: float
    top_k: int | None


@dataclass(frozen=True)
class Boilerplate:
    """A text that stands with more than `urls` distinct URLs of the input is boilerplate.

    `rank` is the filter's place among the text filters: an earlier one's reason goes before it.
    """

    urls: int
    rank: int


def sift(
    warehouse: str,
    candidates: str,
    read_rows: Sequence[str],
    read_texts: Sequence[str],
    clicks: Clicks | None,
    boilerplate: Boilerplate | None,
    out: Path,
    near: Near | None = None,
) -> tuple[str, str]:
    """Write `sifted.parquet` (one row per candidate) and `texts.parquet` (one per candidate and role) to `out`.

    With `near`, texts that are near copies have one `text_group`; it is a text's own id where it stands alone.
    """
    with connect(warehouse) as con:
        view(con, "candidates_in", [candidates], schemas.CANDIDATES)
        view(con, "rows_in", read_rows, schemas.READ_ROWS)
        view(con, "texts_in", read_texts, schemas.READ_TEXTS)
        group_texts(con, near)
        texts = write(con, _texts(boilerplate), str(out / "texts.parquet"))
        view(con, "texts_told", [texts], schemas.SIFTED_TEXTS)
        sifted = write(con, _rows(con, clicks), str(out / "sifted.parquet"))
    return sifted, texts


def _texts(boilerplate: Boilerplate | None) -> str:
    """SQL for what is told of each text; over the whole input, before any filter: a count by part would under-count."""
    reason, detail, counted = "t.reason", "t.detail", "t"
    if boilerplate is not None:
        # a text that varies by a number stands with as many URLs as all of its kind
        common = f"n.urls > {boilerplate.urls} AND (t.rank IS NULL OR t.rank > {boilerplate.rank})"
        whose = "CASE WHEN near THEN ' URLs of near texts' ELSE ' URLs' END"
        counted = "t JOIN n USING (text_group)"
        reason = f"CASE WHEN {common} THEN 'text_boilerplate' ELSE t.reason END"
        detail = f"CASE WHEN {common} THEN n.urls || {whose} || ' > {boilerplate.urls}' ELSE t.detail END"
    return f"""
        WITH t AS (SELECT texts_in.*, coalesce(g.text_group, text_id) AS text_group, g.text_id IS NOT NULL AS near
                   FROM texts_in LEFT JOIN text_groups g USING (text_id)),
        n AS (SELECT text_group, count(DISTINCT url) AS urls FROM t JOIN candidates_in USING (candidate_id)
              GROUP BY text_group)
        SELECT t.candidate_id, role, place, raw, norm, language, measures, {reason} AS reason, {detail} AS detail,
               text_id, text_group
        FROM {counted} ORDER BY candidate_id, place"""


def _rows(con: duckdb.DuckDBPyConnection, clicks: Clicks | None) -> str:
    """SQL for one row per candidate with the first reason that applies, or null."""
    seen = con.execute("SELECT count(impressions), count(clicks) FROM candidates_in").fetchall()[0]
    rate = "NULL::DOUBLE"
    click_reason = click_detail = ""
    top = "NULL::BIGINT"
    if clicks is not None and seen[0] > 0:
        rate = (
            f"(coalesce(clicks, 0) + {clicks.prior_clicks}) / "
            f"(coalesce(impressions, 0) + {clicks.prior_clicks + clicks.prior_skips})"
        )
        few = f"coalesce(impressions, 0) < {clicks.min_impressions}"
        # impressions without a column of clicks say how well a row is known, not how well it is liked
        low = f"rate < {clicks.min_rate}" if seen[1] > 0 else "false"
        click_reason = f"WHEN {few} THEN 'too_few_impressions' WHEN {low} THEN 'low_ctr'"
        click_detail = (
            f"WHEN {few} THEN coalesce(impressions, 0) || ' < {clicks.min_impressions}' "
            f"WHEN {low} THEN printf('%.4f < {clicks.min_rate}', rate)"
        )
        if clicks.top_k is not None:
            top = (
                "row_number() OVER (PARTITION BY query, reason IS NULL AND query IS NOT NULL "
                "ORDER BY rate DESC, impressions DESC, candidate_id)"
            )
    limit = clicks.top_k if clicks is not None and clicks.top_k is not None else 0
    over = f"reason IS NULL AND query IS NOT NULL AND place > {limit}" if limit else "false"
    return f"""
        WITH rated AS (SELECT c.*, {rate} AS rate, r.host, coalesce(r.reason, dead.reason) AS first_reason,
                              coalesce(r.detail, dead.detail) AS first_detail
                       FROM candidates_in c JOIN rows_in r USING (candidate_id)
                       LEFT JOIN ({_DEAD}) dead USING (candidate_id)),
        clicked AS (SELECT *, CASE WHEN first_reason IS NOT NULL THEN first_reason {click_reason} END AS reason,
                           CASE WHEN first_reason IS NOT NULL THEN first_detail {click_detail} END AS detail
                    FROM rated),
        ranked AS (SELECT *, {top} AS place FROM clicked),
        topped AS (SELECT * REPLACE (CASE WHEN {over} THEN 'not_in_top_k' ELSE reason END AS reason,
                          CASE WHEN {over} THEN place || ' > {limit}' ELSE detail END AS detail) FROM ranked),
        spoken AS (SELECT candidate_id, bool_and(reason IS NOT NULL) AS silent, arg_min(reason, place) AS reason,
                          arg_min(role || ': ' || coalesce(detail, ''), place) AS detail
                   FROM texts_told GROUP BY candidate_id)
        SELECT t.candidate_id, source_row, url, host, clicks,
               coalesce(t.reason, CASE WHEN s.silent THEN s.reason END) AS reason,
               CASE WHEN t.reason IS NOT NULL THEN t.detail WHEN s.silent THEN s.detail END AS detail
        FROM topped t LEFT JOIN spoken s USING (candidate_id) ORDER BY candidate_id"""


_DEAD = """SELECT candidate_id, 'tombstoned' AS reason, any_value(kind || ' forgotten') AS detail
           FROM candidates_in JOIN rows_in USING (candidate_id) JOIN lake.tombstones
             ON (kind = 'url' AND value = url) OR (kind = 'host' AND value = host) GROUP BY candidate_id"""


def url_parts(warehouse: str, sifted: str, folder: Path) -> list[str]:
    """Write the distinct URLs that are left to Parquet parts in `folder`, named by what they hold.

    Their order is that of a hash, so that one host's URLs are spread over parts and stalls share them out.
    """
    with connect(warehouse) as con:
        view(con, "sifted", [sifted], schemas.SIFTED)
        left = "SELECT DISTINCT url FROM sifted WHERE reason IS NULL"
        count: int = con.execute(f"SELECT count(*) FROM ({left})").fetchall()[0][0]
        size = max(64, min(1000, count // 64))
        ordered = con.execute(f"{left} ORDER BY sha256(url), url").to_arrow_reader(size)
        return [_url_part(table, folder) for table in sized(ordered, size)]


def _url_part(urls: pa.Table, folder: Path) -> str:
    name = folder / f"{fingerprint(*urls['url'].to_pylist())}.parquet"
    if not name.exists():
        name.parent.mkdir(parents=True, exist_ok=True)
        aside = name.with_name(f".{name.name}.writing")
        pq.write_table(urls, aside)
        aside.replace(name)
    return str(name)
