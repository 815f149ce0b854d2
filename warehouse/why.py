"""Everything that was decided about a URL, a row or a picture, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from warehouse.lake import connect
from warehouse.tables import tables_of


@dataclass(frozen=True)
class Told:
    """One candidate and what is known of it, a sentence a fact."""

    about: str
    facts: list[str]


def explain(warehouse: str, *, url: str | None = None, row: int | None = None, image: int | None = None) -> list[Told]:
    """Every candidate that the question is about, in the order of its source; none where nothing is known."""
    with connect(warehouse, read_only=True) as con:
        found = con.execute(
            """SELECT l.candidate_id, l.source, l.source_row, l.url, l.outcome, l.stage, l.reason, l.detail, l.image_id,
                      l.release, c.impressions, c.clicks
               FROM ledger l JOIN candidates c USING (candidate_id, source)
               WHERE l.url = $1 OR l.source_row = $2
                  OR l.url IN (SELECT url FROM images WHERE image_id = $3) OR l.image_id = $3
               ORDER BY l.source, l.source_row""",
            [url, row, image],
        ).fetchall()
        return [_told(con, *one) for one in found]


def _told(
    con: duckdb.DuckDBPyConnection,
    candidate: int,
    source: str,
    source_row: int,
    url: str | None,
    outcome: str,
    stage: str | None,
    reason: str | None,
    detail: str | None,
    image: int | None,
    release: str | None,
    impressions: int | None,
    clicks: int | None,
) -> Told:
    facts = [_verdict(outcome, stage, reason, detail, image, release)]
    if impressions is not None:
        facts.append(f"clicks: {clicks} of {impressions} impressions")
    facts += _texts(con, candidate, source)
    facts += _picture(con, url)
    facts += _pairs(con, candidate)
    return Told(f"row {source_row} of {source}: {url}", facts)


def _verdict(
    outcome: str, stage: str | None, reason: str | None, detail: str | None, image: int | None, release: str | None
) -> str:
    if outcome == "kept":
        return f"kept, as image {image} of the release {release}"
    said = f" ({detail})" if detail else ""
    return f"{outcome} at {stage}: {reason}{said}"


def _texts(con: duckdb.DuckDBPyConnection, candidate: int, source: str) -> list[str]:
    rows = con.execute(
        "SELECT role, norm, language, reason, detail FROM candidate_texts WHERE candidate_id = $1 AND source = $2",
        [candidate, source],
    ).fetchall()
    return [
        f"{role} [{language}] {norm!r}: "
        + ("may stay" if reason is None else f"{reason}" + (f" ({detail})" if detail else ""))
        for role, norm, language, reason, detail in rows
    ]


def _picture(con: duckdb.DuckDBPyConnection, url: str | None) -> list[str]:
    """The picture that this URL showed, where it is the one that the warehouse knows it by or a copy of it."""
    rows = con.execute(
        """SELECT image_id, format, width, height, nbytes, fetched_at, duplicate_of, duplicate_rule,
                  coalesce(duplicate_distance || ' of 256 bits differ', printf('cosine %.3f', duplicate_similarity))
           FROM images WHERE url = $1""",
        [url],
    ).fetchall()
    facts = []
    for image, form, width, height, nbytes, fetched, survivor, rule, near in rows:
        sides = f"{width}x{height} {form}" if width else "not decoded"
        facts.append(f"picture {image}: {sides}, {nbytes} bytes, fetched {fetched:%Y-%m-%d %H:%M} UTC")
        if survivor is not None:
            facts.append(f"a copy of image {survivor} by {rule}, {near}")
        facts += _said(con, image)
        facts += _captions(con, image)
    return facts


def _captions(con: duckdb.DuckDBPyConnection, image: int) -> list[str]:
    """What models wrote about a picture and what the latest checks say of it; nothing in an older warehouse."""
    if "captions" not in tables_of(con):
        return []
    rows = con.execute(
        """WITH latest AS (SELECT image_id, model, prompt_language, sample, reason, detail FROM caption_checks
                           WHERE run_id = (SELECT arg_max(run_id, finished_at) FROM runs
                                           WHERE run_id IN (SELECT run_id FROM caption_checks WHERE image_id = $1)))
           SELECT c.captioner, c.raw, arg_min(k.reason, k.reason), arg_min(k.detail, k.reason) FROM captions c
           LEFT JOIN latest k ON k.image_id = c.image_id AND k.model = c.model AND k.sample = c.sample
                AND k.prompt_language IS NOT DISTINCT FROM c.prompt_language AND k.reason IS NOT NULL
           WHERE c.image_id = $1 GROUP BY c.captioner, c.model, c.prompt_language, c.sample, c.raw
           ORDER BY c.captioner, c.prompt_language, c.sample""",
        [image],
    ).fetchall()
    return [
        f"caption by {captioner} {raw!r}: " + ("may stay" if reason is None else f"{reason} ({detail})")
        for captioner, raw, reason, detail in rows
    ]


def _said(con: duckdb.DuckDBPyConnection, image: int) -> list[str]:
    """What heads and lists of concepts say of a picture; nothing in a warehouse from before there were any."""
    if "picture_scores" not in tables_of(con):
        return []
    heads = con.execute(
        "SELECT DISTINCT metric, value FROM picture_scores WHERE image_id = $1 ORDER BY metric, value", [image]
    ).fetchall()
    lists = con.execute(
        """SELECT list, list(concept || printf(' %.2f', probability) ORDER BY place) FROM tags WHERE image_id = $1
           GROUP BY list, model ORDER BY list, model""",
        [image],
    ).fetchall()
    told = [f"heads say {', '.join(f'{name} {value:.2f}' for name, value in heads)}"] if heads else []
    return told + [f"nearest of {name}: {', '.join(concepts)}" for name, concepts in lists]


def _pairs(con: duckdb.DuckDBPyConnection, candidate: int) -> list[str]:
    rows = con.execute(
        """SELECT t.norm, p.role, s.metric, s.value, s.model, list(DISTINCT r.release) FILTER (r.release IS NOT NULL)
           FROM pairs p JOIN texts t USING (text_id) LEFT JOIN scores s USING (image_id, text_id)
           LEFT JOIN release_pairs r USING (image_id, text_id, role)
           WHERE p.candidate_id = $1 GROUP BY ALL ORDER BY p.role""",
        [candidate],
    ).fetchall()
    return [
        f"pair {role} {norm!r}"
        + (f": {metric} {value:.4f} by {(model or 'no model')[:8]}" if value is not None else "")
        + (f", in {', '.join(sorted(names))}" if names else ", in no release")
        for norm, role, metric, value, model, names in rows
    ]
