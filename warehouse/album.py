"""Groups of copies to look at: who stands for whom in a run, with thumbnails of all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from warehouse import schemas
from warehouse.lake import connect, view


@dataclass(frozen=True)
class Shown:
    """A picture of a group, how near it is to the survivor (null: it is the survivor), and its thumbnail."""

    image_id: int
    survivor: int
    url: str
    width: int
    height: int
    clicks: int
    rule: str | None
    distance: int | None
    similarity: float | None
    note: str | None
    thumbnail: bytes | None


@dataclass(frozen=True)
class Album:
    """Groups of a run: how many copies have which distance, and some groups as pictures, the survivor first."""

    pictures: int
    copies: int
    by_embedding: int
    distances: dict[int, int]
    largest: list[list[Shown]]
    farthest: list[list[Shown]]


HISTORY = 100_000
"""Thumbnails of earlier runs up to which those of a group are looked for: the table has no index, and is read whole."""


def album(warehouse: str, looked: Sequence[str], joined: str, groups: int, members: int) -> Album:
    """The largest groups of the run and those whose members are farthest from their survivor, `groups` of each.

    Of a group the survivor and those `members` that are nearest to it.
    """
    with connect(warehouse) as con:
        view(con, "looked", looked, schemas.LOOKED)
        view(con, "joined", [joined], schemas.JOINED)
        con.execute(_GROUPED)
        pictures, copies, by_embedding = con.execute(
            """SELECT count(*) FILTER (shown), count(*) FILTER (shown AND survivor <> image_id),
                      count(*) FILTER (shown AND rule = 'embedding') FROM joined"""
        ).fetchall()[0]
        distances = dict(
            con.execute("SELECT distance, count(*) FROM joined WHERE shown AND rule = 'pdq' GROUP BY ALL").fetchall()
        )
        largest = _chosen(con, "pictures DESC, survivor", groups, members)
        farthest = _chosen(con, "farthest DESC NULLS LAST, survivor", groups, members)
    return Album(pictures, copies, by_embedding, distances, largest, farthest)


# who is in a group with a copy of this run: of the run, and of the warehouse where they are shown by neither
_GROUPED = """
    CREATE TEMP TABLE grouped AS
    WITH met AS (SELECT DISTINCT survivor FROM joined WHERE shown AND survivor <> image_id),
    standing AS (SELECT image_id, survivor, rule, distance, similarity, note, clicks FROM joined
                 WHERE survivor IN (FROM met)
                 UNION ALL BY NAME
                 SELECT image_id, coalesce(duplicate_of, image_id) AS survivor, duplicate_rule AS rule,
                        duplicate_distance AS distance, duplicate_similarity AS similarity, clicks
                 FROM lake.images WHERE passed AND coalesce(duplicate_of, image_id) IN (FROM met)
                   AND image_id NOT IN (SELECT image_id FROM joined)),
    own AS (SELECT image_id, min(url) AS url, any_value(width) AS width, any_value(height) AS height
            FROM looked WHERE reason IS NULL AND image_id IN (SELECT image_id FROM standing) GROUP BY image_id)
    SELECT s.*, coalesce(o.url, i.url) AS url, coalesce(o.width, i.width) AS width,
           coalesce(o.height, i.height) AS height
    FROM standing s LEFT JOIN own o USING (image_id) LEFT JOIN lake.images i USING (image_id)"""


def _chosen(con: duckdb.DuckDBPyConnection, order: str, groups: int, members: int) -> list[list[Shown]]:
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE chosen AS
            WITH picked AS (SELECT survivor, count(*) AS pictures, max(distance) AS farthest FROM grouped
                          GROUP BY survivor HAVING count(*) > 1 ORDER BY {order} LIMIT {groups})
            SELECT g.*, row_number() OVER (ORDER BY {order.replace("survivor", "c.survivor")}) AS place,
                   row_number() OVER (PARTITION BY survivor ORDER BY g.image_id <> survivor, g.distance, g.image_id)
                       AS nearest
            FROM grouped g JOIN picked c USING (survivor) QUALIFY nearest <= {members}"""
    )
    (held,) = con.execute("SELECT count(*) FROM lake.thumbnails").fetchall()[0]
    earlier = "SELECT image_id, bytes FROM lake.thumbnails WHERE image_id IN (SELECT image_id FROM chosen)"
    rows = con.execute(
        f"""WITH own AS (SELECT image_id, any_value(thumbnail) AS bytes FROM looked
                         WHERE reason IS NULL AND image_id IN (SELECT image_id FROM chosen) GROUP BY image_id),
            earlier AS ({earlier if held <= HISTORY else earlier + " LIMIT 0"})
            SELECT c.image_id, c.survivor, c.url, c.width, c.height, coalesce(c.clicks, 0), c.rule, c.distance,
                   c.similarity, c.note, coalesce(o.bytes, e.bytes)
            FROM chosen c LEFT JOIN own o USING (image_id) LEFT JOIN earlier e USING (image_id)
            ORDER BY min(c.place) OVER (PARTITION BY c.survivor), c.nearest"""
    ).fetchall()
    told: dict[int, list[Shown]] = defaultdict(list)
    for row in rows:
        told[row[1]].append(Shown(*row))
    return list(told.values())
