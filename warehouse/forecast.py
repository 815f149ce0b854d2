"""A sample of a source for a dry run, and what became of each of its rows, with what only the whole source knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse import schemas
from warehouse.ingest import COLUMNS, TEXT_COLUMNS
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

    Of the rows of the whole source that have its URL `rows_fetched` pass the sift, at least 1 where this one does.
    `nbytes` of its picture came, null where none did; the picture `stays` where any drawn row keeps it.
    `pairs` of the release to be were brought by the row, and `captions` more are of its picture and a caption of that.
    """

    stage: str | None
    reason: str | None
    rows_fetched: int
    nbytes: int | None
    stays: bool
    pairs: int
    captions: float

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


def kin(warehouse: str, candidates: str, sample: str, out: str) -> str:
    """Write all rows of the whole source that have the URL of a drawn one, as a candidates' part; its name."""
    with connect(warehouse) as con:
        view(con, "candidates_in", [candidates], schemas.CANDIDATES)
        drawn = f"SELECT url FROM read_parquet({quoted(sample)})"
        return write(con, f"SELECT * FROM candidates_in WHERE url IN ({drawn}) ORDER BY candidate_id", out)


@dataclass(frozen=True)
class Whole:
    """What the whole source is asked: its candidates' part, the roles that are read, and how common a text may be.

    A text with more than `common` distinct URLs is boilerplate; null: the recipe does not ask. `sifted` and `texts` are
    what the sift wrote of the drawn rows' `kin`.
    """

    candidates: str
    roles: tuple[str, ...]
    common: int | None
    sifted: str
    texts: str


@dataclass(frozen=True)
class Milled:
    """The log of the sample, and the parts that milling it left: of fetched URLs, of looks, and the judged pairs."""

    sample: str
    fetched: Sequence[str]
    looked: Sequence[str]
    judged: str


def fates(warehouse: str, milled: Milled, whole: Whole | None) -> list[Fate]:
    """What became of each drawn row in the warehouse that milled nothing but the sample, in the sample's order.

    Two things are put right by the `whole` source, null where it was drawn whole: a text with too many distinct URLs
    there is boilerplate, and a row all of whose texts stand in an earlier row of its URL is a duplicate. Texts are
    counted as they stand in the log: copies that only normalisation, or a look, would join are not seen.
    """
    with connect(warehouse) as con:
        con.execute(f"CREATE TEMP TABLE drawn AS SELECT * FROM read_parquet({quoted(milled.sample)})")
        view(con, "fetched", milled.fetched, schemas.FETCHED)
        view(con, "looked", milled.looked, schemas.LOOKED)
        view(con, "judged", [milled.judged], schemas.JUDGED)
        view(con, "kin", [whole.sifted] if whole else [], schemas.SIFTED)
        view(con, "kin_texts", [whole.texts] if whole else [], schemas.SIFTED_TEXTS)
        for statement in [_said(whole), *_TOLD]:
            con.execute(statement)
        rows = con.execute(_FATES).fetchall()
    return [Fate(*row) for row in rows]


def _said(whole: Whole | None) -> str:
    """SQL that makes `common`: the texts, as they stand, that have too many distinct URLs in the whole source."""
    if whole is None or whole.common is None:
        return "CREATE TEMP TABLE common (raw VARCHAR)"
    part = f"read_parquet({quoted(whole.candidates)})"
    unpivoted = " UNION ALL ".join(
        f"SELECT url, {role} AS raw FROM {part} WHERE {role} IS NOT NULL" for role in whole.roles
    )
    return f"""CREATE TEMP TABLE common AS SELECT raw FROM ({unpivoted})
               WHERE raw IN (SELECT raw FROM kin_texts WHERE reason IS NULL)
               GROUP BY raw HAVING count(DISTINCT url) > {whole.common}"""


_TOLD = (
    """CREATE TEMP TABLE heard AS
       SELECT t.candidate_id, t.text_id, t.role,
              CASE WHEN t.reason IS NULL AND c.raw IS NOT NULL THEN 'text_boilerplate' ELSE t.reason END AS reason
       FROM kin_texts t LEFT JOIN common c USING (raw)""",
    f"""CREATE TEMP TABLE verdicts AS
        WITH spoken AS (SELECT candidate_id, bool_and(reason IS NOT NULL) AS silent,
                               arg_min(reason, list_position({ROLES}, role)) AS reason
                        FROM heard GROUP BY candidate_id)
        SELECT k.candidate_id, k.url, coalesce(k.reason, CASE WHEN s.silent THEN s.reason END) AS reason
        FROM kin k LEFT JOIN spoken s USING (candidate_id)""",
    """CREATE TEMP TABLE repeats AS
       WITH said AS (SELECT DISTINCT v.candidate_id, v.url, h.text_id FROM verdicts v JOIN heard h USING (candidate_id)
                     WHERE v.reason IS NULL AND h.reason IS NULL),
       firsts AS (SELECT *, min(candidate_id) OVER (PARTITION BY url, text_id) AS first FROM said)
       SELECT candidate_id FROM firsts GROUP BY candidate_id HAVING bool_and(first < candidate_id)""",
)
"""SQL of what the whole source says of the drawn rows' kin: reasons of texts and of rows, and which rows add none."""


_CONTENT = ", ".join(f"d.{column}" for column in COLUMNS)
_LAST_SIFT = max(place for code, place in ORDER.items() if STAGE_OF[code] == "sift")
_STAGES = ", ".join(f"({quoted(code)}, {quoted(stage)}, {ORDER[code]})" for code, stage in STAGE_OF.items())

# What is held back for being a sample would be kept. A row that the sift lets pass as one of the sample, and not as one
# of the whole, was fetched in the sample only. Of equal rows, whose ids tell their places only, the one that comes
# first in the sample is taken for the first in the whole. Where the whole was drawn, its rows are counted themselves
_FATES = f"""
    WITH known AS (SELECT * FROM (VALUES {_STAGES}) v(reason, stage, place)),
    brought AS (SELECT candidate_id, count(*) AS pairs FROM judged WHERE reason IS NULL GROUP BY candidate_id),
    captioned AS (SELECT image_id, count(*) AS pairs FROM judged
                  WHERE reason IS NULL AND candidate_id IS NULL GROUP BY image_id),
    shown AS (SELECT url, pairs / count(*) OVER (PARTITION BY image_id) AS captions
              FROM (SELECT DISTINCT url, image_id FROM looked) JOIN captioned USING (image_id)),
    crowd AS (SELECT url, count(*) AS asked FROM verdicts WHERE reason IS NULL GROUP BY url),
    came AS (SELECT url, any_value(nbytes) AS nbytes FROM fetched WHERE reason IS NULL GROUP BY url),
    milled AS (SELECT l.source_row, l.url, l.candidate_id, nullif(l.reason, 'not_published') AS reason,
                      list_sort(list(d.whole_id) OVER (PARTITION BY {_CONTENT}))[
                          row_number() OVER (PARTITION BY {_CONTENT} ORDER BY l.candidate_id)] AS whole_id
               FROM lake.ledger l JOIN drawn d USING (source_row)),
    whole AS (SELECT m.*, CASE WHEN v.reason IS NOT NULL AND (m.reason IS NULL OR k.place > {_LAST_SIFT}) THEN v.reason
                               WHEN m.reason IS NULL AND r.candidate_id IS NOT NULL THEN 'duplicate'
                               ELSE m.reason END AS told
              FROM milled m LEFT JOIN verdicts v ON v.candidate_id = m.whole_id
              LEFT JOIN repeats r ON r.candidate_id = m.whole_id LEFT JOIN known k ON k.reason = m.reason),
    fated AS (SELECT w.*, coalesce(k.stage, CASE WHEN told IS NOT NULL THEN 'sift' END) AS stage,
                     told IS NULL OR coalesce(k.stage, 'sift') NOT IN ('ingest', 'sift') AS fetched
              FROM whole w LEFT JOIN known k ON k.reason = told)
    SELECT stage, told,
           greatest(coalesce(c.asked, 0), count(*) FILTER (WHERE fetched) OVER (PARTITION BY url)),
           CASE WHEN fetched THEN f.nbytes END,
           fetched AND bool_or(fetched AND w.reason IS NULL) OVER (PARTITION BY url),
           CASE WHEN told IS NULL THEN coalesce(b.pairs, 0) ELSE 0 END,
           CASE WHEN fetched THEN coalesce(s.captions, 0) ELSE 0 END
    FROM fated w LEFT JOIN crowd c USING (url) LEFT JOIN came f USING (url) LEFT JOIN shown s USING (url)
    LEFT JOIN brought b USING (candidate_id) ORDER BY w.source_row"""


def parts_of(folder: Path) -> list[str]:
    """The whole parts that lie in a folder of a scratch warehouse."""
    return sorted(str(part) for part in folder.glob("[!.]*.parquet"))
