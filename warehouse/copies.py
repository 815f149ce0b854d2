"""Which pictures are one: exact by content, near by Hamming distance, against everything the warehouse ever kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse import schemas
from warehouse.lake import connect, view, write

BANDS = 4
"""A 64-bit hash is cut into 4 bands of 16 bits: within distance d, one band differs in at most d // 4 bits."""

MIN_STD = 2.0
"""Pictures of less contrast have hashes of noise; they are joined only when their bytes are equal."""


@dataclass(frozen=True)
class Seen:
    """A picture of this run that passed the look and that the warehouse has not kept before."""

    image_id: int
    phash: int
    area: int
    clicks: int

    def order(self) -> tuple[int, int, int]:
        """The total order of survivors: largest, then most clicks, then smallest id."""
        return -self.area, -self.clicks, self.image_id


@dataclass(frozen=True)
class Join:
    """A picture and the one that stands for it (itself, unless it is a copy)."""

    image_id: int
    survivor: int
    distance: int


def join_copies(warehouse: str, sifted: str, looked: Sequence[str], bits: int | None, out: Path) -> str:
    """Write `joined.parquet` to `out`: one row per distinct picture of the run that passed the look."""
    with connect(warehouse) as con:
        view(con, "sifted", [sifted], schemas.SIFTED)
        view(con, "looked", looked, schemas.LOOKED)
        con.execute(_SEEN)
        edges = _edges(con, bits) if bits is not None else []
        joins = group(_unseen(con), _roots(con), edges, bits) if bits is not None else []
        con.register("joins", _table(joins))
        con.execute(_STANDING)
        con.execute(_protected(bits))
        return write(con, _JOINED, str(out / "joined.parquet"))


_SEEN = """
    CREATE TEMP TABLE seen AS
    WITH shown AS (SELECT image_id, any_value(phash) AS phash, any_value(std) AS std, any_value(sha256) AS sha256,
                          max(width::BIGINT * height) AS area
                   FROM looked WHERE reason IS NULL GROUP BY image_id),
    clicked AS (SELECT image_id, sum(coalesce(clicks, 0))::BIGINT AS clicks
                FROM looked JOIN sifted USING (url) WHERE looked.reason IS NULL AND sifted.reason IS NULL
                GROUP BY image_id)
    SELECT image_id, phash, std, sha256, area, clicks, k.root
    FROM shown JOIN clicked USING (image_id)
    LEFT JOIN (SELECT image_id, coalesce(duplicate_of, image_id) AS root FROM lake.images WHERE passed) k
    USING (image_id)"""

_STANDING = """
    CREATE TEMP TABLE standing AS
    SELECT image_id, survivor, CASE WHEN survivor <> image_id THEN 'phash' END AS rule, distance, false AS known
    FROM joins
    UNION ALL BY NAME
    SELECT image_id, image_id AS survivor, 0 AS distance, false AS known
    FROM seen ANTI JOIN joins USING (image_id) WHERE root IS NULL
    UNION ALL BY NAME
    SELECT s.image_id, root AS survivor, i.duplicate_rule AS rule, i.duplicate_distance AS distance, true AS known
    FROM seen s JOIN lake.images i ON i.image_id = s.image_id AND i.passed"""

# a picture is removed with the one that stands for it: it is the survivor that a release would show
_JOINED = """
    SELECT s.*, coalesce(own.reason, other.reason) AS reason, coalesce(own.detail, other.detail) AS detail
    FROM standing s LEFT JOIN overlap own ON own.image_id = s.image_id
    LEFT JOIN overlap other ON other.image_id = s.survivor
    ORDER BY s.image_id"""


def _protected(bits: int | None) -> str:
    near = f"OR (s.std >= {MIN_STD} AND bit_count(xor(s.phash, p.phash)) <= {bits})" if bits is not None else ""
    return f"""CREATE TEMP TABLE overlap AS
        WITH shown AS (SELECT image_id, sha256, phash, std FROM seen
                       UNION
                       SELECT image_id, sha256, phash, std FROM lake.images
                       WHERE image_id IN (SELECT survivor FROM standing))
        SELECT image_id, 'benchmark_overlap' AS reason, min('in the protected set ' || p.name) AS detail
        FROM shown s JOIN lake.protected p ON s.sha256 = p.sha256 {near} GROUP BY image_id"""


def _unseen(con: duckdb.DuckDBPyConnection) -> list[Seen]:
    """The new pictures that are near to another; all others stand for themselves, and only SQL sees them."""
    rows = con.execute(
        "SELECT image_id, phash, area, clicks FROM seen "
        "WHERE image_id IN (SELECT image_id FROM near UNION SELECT other FROM near WHERE NOT known)"
    ).fetchall()
    return [Seen(*row) for row in rows]


def _roots(con: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """The hash of every picture of the warehouse that an unseen one is near to."""
    rows = con.execute(
        "SELECT DISTINCT other, i.phash FROM near JOIN lake.images i ON i.image_id = other WHERE known"
    ).fetchall()
    return dict(rows)


def _edges(con: duckdb.DuckDBPyConnection, bits: int) -> list[tuple[int, int]]:
    """Every pair within `bits` of which one is unseen; exact, by the pigeonhole over bands.

    A pair within d has a band within d // BANDS, so probing each band's neighbours finds it: no false negatives,
    and what a new picture costs is a share of the history, not the history.
    """
    masks = [sum(1 << bit for bit in chosen) for n in range(bits // BANDS + 1) for chosen in combinations(range(16), n)]
    con.register("masks", pa.table({"mask": pa.array(masks, pa.int64())}))
    con.execute(f"""
        CREATE TEMP TABLE hashes AS
        SELECT image_id, phash, image_id AS stands_for, false AS known FROM seen
        WHERE root IS NULL AND std >= {MIN_STD}
        UNION ALL
        SELECT image_id, phash, coalesce(duplicate_of, image_id), true FROM lake.images
        WHERE passed AND std >= {MIN_STD}""")
    con.execute(f"""
        CREATE TEMP TABLE bands AS
        SELECT h.*, band, ((phash >> (band * 16)::BIGINT) & 65535) AS value FROM hashes h, range({BANDS}) b(band)""")
    con.execute(f"""
        CREATE TEMP TABLE near AS
        SELECT DISTINCT a.image_id, b.stands_for AS other, b.known
        FROM (SELECT *, xor(value, mask) AS probe FROM bands, masks WHERE NOT known) a
        JOIN bands b ON a.band = b.band AND a.probe = b.value
        WHERE a.image_id <> b.image_id AND bit_count(xor(a.phash, b.phash)) <= {bits}""")
    return con.execute("SELECT image_id, other FROM near").fetchall()


def group(unseen: Sequence[Seen], roots: dict[int, int], edges: Iterable[tuple[int, int]], bits: int) -> list[Join]:
    """Join unseen pictures into groups, each stood for by a known root or by its best member.

    A group is a connected component of `edges`. A known root stands for what is nearest to it: what was published
    does not change. A member farther than twice `bits` from its survivor was chained to it; those are grouped anew
    among themselves, so that no chain of small steps joins pictures that differ. Order of input does not matter.
    """
    by_id = {one.image_id: one for one in unseen}
    joins: list[Join] = []
    left = _components(by_id, roots, edges)
    while left:
        members, known = left.pop()
        best = min(members, key=Seen.order)
        hashes = {root: roots[root] for root in known} or {best.image_id: best.phash}
        chained: list[Seen] = []
        for one in members:
            distance, survivor = min((hamming(one.phash, phash), root) for root, phash in hashes.items())
            if distance <= 2 * bits or one.image_id == survivor:
                joins.append(Join(one.image_id, survivor, distance))
            else:
                chained.append(one)
        if chained:
            left += _components({one.image_id: one for one in chained}, {}, edges)
    return sorted(joins, key=lambda join: join.image_id)


def _components(
    by_id: dict[int, Seen], roots: dict[int, int], edges: Iterable[tuple[int, int]]
) -> list[tuple[list[Seen], set[int]]]:
    """Connected components over unseen pictures, each with the known roots that touch it."""
    parent = {image_id: image_id for image_id in by_id}

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    touching: list[tuple[int, int]] = []
    for one, other in edges:
        if one in by_id and other in by_id:
            low, high = sorted((find(one), find(other)))
            parent[high] = low
        elif one in by_id and other in roots:
            touching.append((one, other))
    groups: dict[int, tuple[list[Seen], set[int]]] = defaultdict(lambda: ([], set()))
    for image_id, member in by_id.items():
        groups[find(image_id)][0].append(member)
    for touched, root in touching:
        groups[find(touched)][1].add(root)
    return list(groups.values())


def hamming(one: int, other: int) -> int:
    """How many of 64 bits differ."""
    return ((one ^ other) & 0xFFFFFFFFFFFFFFFF).bit_count()


def _table(joins: Sequence[Join]) -> pa.Table:
    return pa.table(
        {
            "image_id": pa.array([join.image_id for join in joins], pa.int64()),
            "survivor": pa.array([join.survivor for join in joins], pa.int64()),
            "distance": pa.array([join.distance for join in joins], pa.int32()),
        }
    )
