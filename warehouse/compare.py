"""What one selection of a pool keeps that another drops: counts, reasons, and examples with their thumbnails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from warehouse import schemas
from warehouse.errors import UnknownRelease, WarehouseError
from warehouse.lake import connect, exists, locate, prepare, quoted, shown, view
from warehouse.releases import list_releases


@dataclass(frozen=True)
class Milled:
    """A run whose pairs can be judged again: its pool, and the recipe that it was milled by, as JSON."""

    run_id: str
    source: str
    release: str | None
    recipe: str
    pairs: str
    judged: str


@dataclass(frozen=True)
class ScoredBy:
    """A model by its identity, what the first recipe that named it called it, and the hash of its weights."""

    model: str
    source: str
    weights_sha256: str | None


@dataclass(frozen=True)
class Example:
    """A pair that one side keeps, with the reason why the other does not, and its thumbnail where there is one."""

    image_id: int
    text_id: int
    role: str
    text: str
    score: float | None
    reason: str
    detail: str
    thumbnail: bytes | None


@dataclass(frozen=True)
class Side:
    """What one selection keeps of the pool, and how many pairs it drops for which reason; `only` the other drops."""

    name: str
    kept: int
    pictures: int
    only: int
    cuts: dict[str, float]
    reasons: dict[str, int]
    examples: list[Example]


@dataclass(frozen=True)
class Comparison:
    """Two selections of one pool of pairs, where a pair is a picture, a text and its role."""

    pairs: int
    both: int
    neither: int
    first: Side
    second: Side


@dataclass(frozen=True)
class Judged:
    """A selection: its name, a part of JUDGED, and the frozen cuts."""

    name: str
    part: str
    cuts: dict[str, float]


def find_milled(warehouse: str, on: str | None) -> Milled:
    """The run of that id or release; else the latest that was published. Raises WarehouseError where none is left."""
    if exists(warehouse):
        prepare(warehouse)  # one of an earlier version lacks columns
    with connect(warehouse, read_only=True) as con:
        rows = con.execute(
            """SELECT run_id, source, release, recipe FROM lake.runs
               WHERE $1 IS NULL AND release IS NOT NULL OR run_id = $1
                  OR run_id IN (SELECT run_id FROM lake.releases WHERE release = $1)
               ORDER BY finished_at DESC, run_id LIMIT 1""",
            [on],
        ).fetchall()
    if not rows:
        known = ", ".join(one.release for one in list_releases(warehouse)[:5]) or "none yet"
        raise UnknownRelease(
            f"There is no {f'release or run {on}' if on else 'release'} in {shown(warehouse)} to compare on; "
            f"there are: {known}.\n"
            "See `zeromill releases`, or run `zeromill curate` first."
        )
    run_id, source, release, recipe = rows[0]
    folder = locate(warehouse).work / "runs" / run_id
    pairs, judged = _pairs_of(folder), folder / "judged.parquet"
    if pairs is None or not judged.is_file():
        raise WarehouseError(
            f"The pairs of {release or run_id} are not kept any more in {folder}.\n"
            f"Mill its source again under another release's name: zeromill curate {source} --recipe R --release NAME"
        )
    return Milled(run_id, source, release, recipe, str(pairs), str(judged))


def _pairs_of(folder: Path) -> Path | None:
    """The part of pairs that the run judged: with captions, where it asked for some, after the last of their checks."""
    files = (folder / name for name in ("pairs-captions.parquet", "pairs.parquet"))
    return next((file for file in files if file.is_file()), None)


def models_scored(warehouse: str, pairs: str) -> list[ScoredBy]:
    """The models that scored pairs of the pool, that of the most pairs first."""
    with connect(warehouse, read_only=True) as con:
        view(con, "pool", [pairs], schemas.PAIRS)
        rows = con.execute(
            """WITH counted AS (SELECT model, count(*) AS pairs FROM lake.scores
                                SEMI JOIN pool USING (image_id, text_id) WHERE metric = 'cosine' GROUP BY model)
               SELECT model, source, weights_sha256 FROM counted JOIN lake.models USING (model)
               ORDER BY pairs DESC, model"""
        ).fetchall()
    return [ScoredBy(*row) for row in rows]


def compare(warehouse: str, first: Judged, second: Judged, examples: int, seed: int) -> Comparison:
    """Hold two selections of one pool against each other, with so many `examples` of what only one keeps."""
    with connect(warehouse, read_only=True) as con:
        for name, one in (("one", first), ("other", second)):
            view(con, f"{name}_in", [one.part], schemas.JUDGED)
            con.execute(f"CREATE TEMP TABLE {name} AS {_DISTINCT.format(name=name)}")
        return _compared(con, first, second, examples, seed)


def compare_releases(warehouse: str, first: str, second: str, examples: int, seed: int) -> Comparison:
    """The same of the pairs of two releases; why a pair is not in one is what its run said, where it had the pair."""
    releases = {one.release: one for one in list_releases(warehouse)}
    with connect(warehouse, read_only=True) as con:
        for name, release in (("one", first), ("other", second)):
            told = locate(warehouse).work / "runs" / releases[release].fingerprint / "judged.parquet"
            view(con, f"{name}_in", [str(told)] if told.is_file() else [], schemas.JUDGED)
        for name, release in (("one", first), ("other", second)):
            con.execute(f"CREATE TEMP TABLE {name} AS {_OF_RELEASE.format(name=name)}", [release, [first, second]])
        sides = [Judged(name, "", releases[name].cuts) for name in (first, second)]
        return _compared(con, sides[0], sides[1], examples, seed)


# copies of texts make no pairs; of a pair that several rows brought one is kept where any is
_DISTINCT = """
    SELECT image_id, text_id, role, max(score) AS score, bool_or(reason IS NULL) AS kept,
           any_value(reason ORDER BY candidate_id) AS reason, any_value(detail ORDER BY candidate_id) AS detail
    FROM {name}_in WHERE better_text IS NULL GROUP BY image_id, text_id, role"""

_OF_RELEASE = """
    WITH pool AS (SELECT DISTINCT image_id, text_id, role FROM lake.release_pairs WHERE list_contains($2, release)),
    kept AS (SELECT DISTINCT image_id, text_id, role, true AS kept FROM lake.release_pairs WHERE release = $1),
    told AS (SELECT image_id, text_id, role, max(score) AS score, any_value(reason ORDER BY candidate_id) AS reason,
                    any_value(detail ORDER BY candidate_id) AS detail FROM {name}_in GROUP BY image_id, text_id, role)
    SELECT image_id, text_id, role, score, coalesce(kept, false) AS kept,
           coalesce(reason, 'not in its run') AS reason, coalesce(detail, '') AS detail
    FROM pool LEFT JOIN kept USING (image_id, text_id, role) LEFT JOIN told USING (image_id, text_id, role)"""


def _compared(con: duckdb.DuckDBPyConnection, first: Judged, second: Judged, examples: int, seed: int) -> Comparison:
    pairs, both, neither = con.execute(
        """SELECT count(*), count(*) FILTER (a.kept AND b.kept), count(*) FILTER (NOT a.kept AND NOT b.kept)
           FROM one a JOIN other b USING (image_id, text_id, role)"""
    ).fetchall()[0]
    sides = [
        _side(con, judged, tables, examples, seed)
        for judged, tables in ((first, ("one", "other")), (second, ("other", "one")))
    ]
    return Comparison(pairs, both, neither, sides[0], sides[1])


def _side(con: duckdb.DuckDBPyConnection, judged: Judged, tables: tuple[str, str], examples: int, seed: int) -> Side:
    own, other = tables
    kept, pictures, only = con.execute(
        f"""SELECT count(*) FILTER (a.kept), count(DISTINCT image_id) FILTER (a.kept),
                   count(*) FILTER (a.kept AND NOT b.kept)
            FROM {own} a JOIN {other} b USING (image_id, text_id, role)"""
    ).fetchall()[0]
    reasons = con.execute(
        f"SELECT reason, count(*) FROM {own} WHERE NOT kept GROUP BY reason ORDER BY count(*) DESC, reason"
    ).fetchall()
    return Side(
        judged.name, kept, pictures, only, judged.cuts, dict(reasons), _examples(con, own, other, examples, seed)
    )


def _examples(con: duckdb.DuckDBPyConnection, own: str, other: str, examples: int, seed: int) -> list[Example]:
    """Drawn by seed and ids, one a picture, and as many of each of the other side's reasons as there are."""
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE chosen AS
            WITH only_here AS (
                SELECT a.image_id, a.text_id, a.role, a.score, b.reason, b.detail,
                       md5(concat_ws(' ', {quoted(str(seed))}, a.image_id, a.text_id, a.role)) AS drawn
                FROM {own} a JOIN {other} b USING (image_id, text_id, role) WHERE a.kept AND NOT b.kept
                QUALIFY row_number() OVER (PARTITION BY a.image_id ORDER BY drawn) = 1),
            dealt AS (SELECT *, row_number() OVER (PARTITION BY reason ORDER BY drawn) AS place FROM only_here)
            SELECT * FROM dealt ORDER BY place, reason LIMIT {examples}"""
    )
    rows = con.execute(
        """WITH said AS (SELECT text_id, any_value(norm) AS norm FROM lake.texts
                         WHERE text_id IN (SELECT text_id FROM chosen) GROUP BY text_id),
           small AS (SELECT image_id, any_value(bytes) AS bytes FROM lake.thumbnails
                     WHERE image_id IN (SELECT image_id FROM chosen) GROUP BY image_id)
           SELECT image_id, text_id, role, coalesce(norm, ''), score, reason, detail, bytes
           FROM chosen LEFT JOIN said USING (text_id) LEFT JOIN small USING (image_id)
           ORDER BY place, reason"""
    ).fetchall()
    return [Example(*row) for row in rows]
