"""A sample of a source for a dry run, and what became of each of its rows, with what only the whole source knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse import schemas
from warehouse.ingest import TEXT_COLUMNS
from warehouse.lake import connect, quoted, view, write
from warehouse.reasons import ORDER, STAGE_OF

ROLES = "['query', 'title', 'surrounding', 'alt']"

BEFORE_FETCH = ("ingest", "sift")
"""The stages whose rows no site is asked for."""


@dataclass(frozen=True)
class Drawn:
    """How many rows and distinct URLs the source has, and how many rows were drawn."""

    rows: int
    urls: int
    drawn: int

    @property
    def whole(self) -> bool:
        """Whether the source is no larger than the sample."""
        return self.drawn == self.rows


@dataclass(frozen=True)
class Fate:
    """A drawn row: stage and reason that turned it away, null where it would be kept.

    `rows_of_url` of the whole source have its URL; `nbytes` of its picture came, null where none did; `pairs` of the
    release to be were brought by it.
    """

    stage: str | None
    reason: str | None
    rows_of_url: int
    nbytes: int | None
    pairs: int

    @property
    def fetched(self) -> bool:
        """Whether its URL was asked for."""
        return self.stage not in BEFORE_FETCH


def draw(warehouse: str, candidates: str, out: str, *, rows: int, seed: int) -> Drawn:
    """Write up to `rows` of the candidates' part to the log `out`, by a hash of seed and row, wherever they stand.

    The log's `source_row` is the row's place in the sample, `whole_id` its id in the whole source: an equal row that
    was not drawn does not count here, so that ids may differ. One pass; what does not fit in memory is spilled.
    """
    with connect(warehouse) as con:
        view(con, "candidates_in", [candidates], schemas.CANDIDATES)
        held, urls = con.execute("SELECT count(*), count(DISTINCT url) FROM candidates_in").fetchall()[0]
        write(con, _sample(rows, seed), out)
        drawn = con.execute(f"SELECT count(*) FROM read_parquet({quoted(out)})").fetchall()[0][0]
    return Drawn(held, urls, drawn)


def _sample(rows: int, seed: int) -> str:
    # a count that could not be read is gone from the part: what stands in its place cannot be read either
    counts = ", ".join(
        f"CASE WHEN starts_with(fault, '{column} ') THEN 'no number' ELSE {column}::VARCHAR END AS {column}"
        for column in ("impressions", "clicks")
    )
    return f"""
        WITH chosen AS (SELECT candidate_id FROM candidates_in
                        ORDER BY md5({seed} || ':' || candidate_id), candidate_id LIMIT {rows})
        SELECT {", ".join(TEXT_COLUMNS)}, {counts}, candidate_id AS whole_id,
               row_number() OVER (ORDER BY candidate_id) - 1 AS source_row
        FROM candidates_in SEMI JOIN chosen USING (candidate_id) ORDER BY candidate_id"""


@dataclass(frozen=True)
class Whole:
    """What the whole source is asked: its candidates' part, the roles that are read, and how common a text may be.

    A text with more than `common` distinct URLs is boilerplate; null: the recipe does not ask.
    """

    candidates: str
    roles: tuple[str, ...]
    common: int | None


def fates(warehouse: str, sample: str, fetched: Sequence[str], judged: str, whole: Whole | None) -> list[Fate]:
    """What became of each drawn row in the warehouse that milled nothing but the sample, in the sample's order.

    Two things are put right by the `whole` source, null where it was drawn whole: a text with too many distinct URLs
    there is boilerplate, and a row all of whose texts stand in an earlier row of its URL is a duplicate. Texts are
    compared as they stand in the log: copies that only normalisation, or a look, would join are not seen.
    """
    with connect(warehouse) as con:
        con.execute(f"CREATE TEMP TABLE drawn AS SELECT * FROM read_parquet({quoted(sample)})")
        view(con, "fetched", fetched, schemas.FETCHED)
        view(con, "judged", [judged], schemas.JUDGED)
        view(con, "source", [whole.candidates if whole else sample], "url VARCHAR")
        for statement in _NOTHING if whole is None else _told(whole):
            con.execute(statement)
        rows = con.execute(_FATES).fetchall()
    return [Fate(*row) for row in rows]


_NOTHING = (
    "CREATE TEMP TABLE spoken (source_row BIGINT, silent BOOLEAN, reason VARCHAR)",
    "CREATE TEMP TABLE repeats (source_row BIGINT)",
)


def _told(whole: Whole) -> list[str]:
    """SQL that makes `spoken` and `repeats` of the whole source."""
    part = f"read_parquet({quoted(whole.candidates)})"
    unpivoted = " UNION ALL ".join(
        f"SELECT candidate_id, url, {role} AS raw FROM {part} WHERE {role} IS NOT NULL" for role in whole.roles
    )
    frequent = f"c.urls > {whole.common}" if whole.common is not None else "false"
    return [
        """CREATE TEMP TABLE mine AS
           SELECT d.source_row, d.whole_id, d.url, t.candidate_id, t.role, t.raw, t.reason
           FROM lake.candidate_texts t JOIN lake.candidates USING (candidate_id) JOIN drawn d USING (source_row)""",
        f"CREATE TEMP VIEW said AS {unpivoted}",
        """CREATE TEMP TABLE counted AS SELECT raw, count(DISTINCT url) AS urls
           FROM said WHERE raw IN (SELECT raw FROM mine) GROUP BY raw""",
        f"""CREATE TEMP TABLE spoken AS
            SELECT source_row, bool_and(told IS NOT NULL) AS silent,
                   arg_min(told, list_position({ROLES}, role)) AS reason
            FROM (SELECT m.*, CASE WHEN m.reason IS NULL AND {frequent} THEN 'text_boilerplate'
                                   ELSE m.reason END AS told
                  FROM mine m LEFT JOIN counted c USING (raw)) GROUP BY source_row""",
        """CREATE TEMP TABLE repeats AS SELECT source_row FROM (
               SELECT m.source_row, m.raw, coalesce(bool_or(s.candidate_id < m.whole_id), false) AS stood
               FROM (SELECT DISTINCT source_row, whole_id, url, raw FROM mine WHERE reason IS NULL) m
               LEFT JOIN (SELECT * FROM said WHERE url IN (SELECT url FROM drawn)) s USING (url, raw)
               GROUP BY ALL) GROUP BY source_row HAVING bool_and(stood)""",
    ]


_LAST_SIFT = max(place for code, place in ORDER.items() if STAGE_OF[code] == "sift")
_STAGES = ", ".join(f"({quoted(code)}, {quoted(stage)}, {ORDER[code]})" for code, stage in STAGE_OF.items())

# What is held back for being a sample would be kept. A row that the sift lets pass as one of the sample, and not as one
# of the whole, was fetched in the sample only
_FATES = f"""
    WITH known AS (SELECT * FROM (VALUES {_STAGES}) v(reason, stage, place)),
    brought AS (SELECT candidate_id, count(*) AS pairs FROM judged WHERE reason IS NULL GROUP BY candidate_id),
    crowd AS (SELECT url, count(*) AS rows FROM source WHERE url IN (SELECT url FROM drawn) GROUP BY url),
    came AS (SELECT url, any_value(nbytes) AS nbytes FROM fetched WHERE reason IS NULL GROUP BY url),
    milled AS (SELECT l.source_row, l.url, l.candidate_id, nullif(l.reason, 'not_published') AS reason
               FROM lake.ledger l),
    whole AS (SELECT m.*, CASE WHEN s.silent AND (m.reason IS NULL OR k.place > {_LAST_SIFT}) THEN s.reason
                               WHEN m.reason IS NULL AND r.source_row IS NOT NULL THEN 'duplicate'
                               ELSE m.reason END AS told
              FROM milled m LEFT JOIN spoken s USING (source_row) LEFT JOIN repeats r USING (source_row)
              LEFT JOIN known k ON k.reason = m.reason)
    SELECT coalesce(k.stage, CASE WHEN told IS NOT NULL THEN 'sift' END), told, coalesce(c.rows, 1),
           CASE WHEN coalesce(k.stage, 'sift') NOT IN ('ingest', 'sift') OR told IS NULL THEN f.nbytes END,
           CASE WHEN told IS NULL THEN coalesce(b.pairs, 0) ELSE 0 END
    FROM whole w LEFT JOIN known k ON k.reason = told LEFT JOIN crowd c USING (url) LEFT JOIN came f USING (url)
    LEFT JOIN brought b USING (candidate_id) ORDER BY w.source_row"""


def parts_of(folder: Path) -> list[str]:
    """The whole parts that lie in a folder of a scratch warehouse."""
    return sorted(str(part) for part in folder.glob("[!.]*.parquet"))
