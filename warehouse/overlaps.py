"""Which groups of copies overlap a protected set: by equal bytes, near hashes, or vectors that are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse import schemas
from warehouse.copies import MIN_QUALITY
from warehouse.lake import connect, view, write

MEMBERS = "image_id BIGINT, survivor BIGINT, sha256 VARCHAR, phash BIGINT, dhash BIGINT, pdq VARCHAR"
NODES = "image_id BIGINT, phash BIGINT, dhash BIGINT, pdq VARCHAR"

ROWS = 1024
"""Of a run's vectors that are compared at a time."""

COLUMNS = 1 << 14
"""Of protected vectors that these are compared with at a time: 64 MB of cosines."""

_SET = "protected set "
"""Before the name of the set in a detail; a colon ends the name."""


@dataclass(frozen=True)
class Bounds:
    """How near to a protected picture is too near: bits of PDQ, and cosines of `model` above `join`; null: any."""

    near_bits: int | None
    join: float | None
    model: str | None


@dataclass(frozen=True)
class Sides:
    """Parts: the members of the run's groups, their distinct hashes, and those of protected pictures."""

    members: str
    ours: str
    theirs: str


def write_sides(warehouse: str, seen: str, joined: str, out: Path) -> Sides | None:
    """Write what is to be compared with protected sets to `out`; null where nothing is protected.

    Members are all pictures of the groups that the run concerns. Hashes of protected pictures are numbered below 0:
    the same picture may stand on both sides.
    """
    with connect(warehouse) as con:
        if not con.execute("SELECT count(*) FROM lake.protected").fetchall()[0][0]:
            return None
        view(con, "seen", [seen], schemas.SEEN)
        view(con, "joined", [joined], schemas.JOINED)
        members = write(con, _MEMBERS, str(out / "members.parquet"))
        view(con, "members", [members], MEMBERS)
        ours = write(con, _OURS, str(out / "ours.parquet"))
        return Sides(members, ours, write(con, _THEIRS, str(out / "theirs.parquet")))


# what history has of a group that the run does not tell of still stands where it stood
_MEMBERS = f"""
    WITH standing AS (
        SELECT image_id, survivor FROM joined
        UNION ALL
        SELECT image_id, coalesce(duplicate_of, image_id) AS survivor FROM lake.images
        WHERE passed AND coalesce(duplicate_of, image_id) IN (SELECT survivor FROM joined)
          AND image_id NOT IN (SELECT image_id FROM joined)),
    kept AS (SELECT image_id, sha256, phash, dhash, pdq, pdq_quality >= {MIN_QUALITY} AS hashed FROM lake.images
             WHERE image_id IN (SELECT image_id FROM standing))
    SELECT image_id, survivor, coalesce(s.sha256, k.sha256) AS sha256,
           coalesce(s.phash, CASE WHEN hashed THEN k.phash END) AS phash,
           coalesce(s.dhash, CASE WHEN hashed THEN k.dhash END) AS dhash,
           coalesce(s.pdq, CASE WHEN hashed THEN k.pdq END) AS pdq
    FROM standing LEFT JOIN seen s USING (image_id) LEFT JOIN kept k USING (image_id) ORDER BY image_id"""

_OURS = """
    SELECT min(image_id) AS image_id, phash, dhash, pdq FROM members
    WHERE phash IS NOT NULL AND dhash IS NOT NULL AND pdq IS NOT NULL GROUP BY phash, dhash, pdq ORDER BY image_id"""

_THEIRS = f"""
    SELECT -row_number() OVER (ORDER BY phash, dhash, pdq) AS image_id, phash, dhash, pdq
    FROM (SELECT DISTINCT phash, dhash, pdq FROM lake.protected
          WHERE pdq_quality >= {MIN_QUALITY} AND phash IS NOT NULL AND dhash IS NOT NULL AND pdq IS NOT NULL)"""


def write_cleared(
    warehouse: str, joined: str, sides: Sides, near: Sequence[str], vectors: Sequence[str], bounds: Bounds, out: Path
) -> str:
    """Write `cleared.parquet`: `joined`, where a group of which any member overlaps a set has its reason.

    `near` are parts of pairs of `sides`, `vectors` those of the run's embeddings.
    """
    with connect(warehouse) as con:
        view(con, "joined", [joined], schemas.JOINED)
        view(con, "members", [sides.members], MEMBERS)
        view(con, "ours", [sides.ours], NODES)
        view(con, "theirs", [sides.theirs], NODES)
        view(con, "near_in", near, schemas.NEAR)
        view(con, "vectors_in", vectors, schemas.VECTORS)
        con.register("alike", _alike(con, bounds))
        con.execute(_MET, [bounds.near_bits, bounds.join])
        return write(con, _CLEARED, str(out / "cleared.parquet"))


# every overlap in words, and how near it is: bytes before bits before cosines
_MET = f"""
    CREATE TEMP TABLE met AS
    SELECT m.image_id, m.survivor, p.name, 0 AS place, 0.0 AS far, 'equal bytes' AS told
    FROM members m JOIN lake.protected p USING (sha256)
    UNION ALL
    SELECT m.image_id, m.survivor, p.name, 1, n.distance, n.distance || ' <= ' || $1::INTEGER || ' bits'
    FROM near_in n JOIN ours o ON o.image_id = n.image_id JOIN theirs t ON t.image_id = n.other
    JOIN members m ON (m.phash, m.dhash, m.pdq) = (o.phash, o.dhash, o.pdq)
    JOIN lake.protected p ON (p.phash, p.dhash, p.pdq) = (t.phash, t.dhash, t.pdq)
    WHERE p.pdq_quality >= {MIN_QUALITY}
    UNION ALL
    SELECT m.image_id, m.survivor, a.name, 2, 1 - a.cosine,
           'cosine ' || round(a.cosine, 4)::DECIMAL(6, 4) || ' > ' || $2::DECIMAL(6, 4)
    FROM alike a JOIN members m USING (image_id)"""

_CLEARED = f"""
    WITH own AS (SELECT DISTINCT ON (image_id) * FROM met ORDER BY image_id, place, far, name),
    groups AS (SELECT DISTINCT ON (survivor) * FROM met ORDER BY survivor, place, far, name, image_id)
    SELECT j.* REPLACE (
        CASE WHEN g.name IS NOT NULL THEN 'benchmark_overlap' ELSE j.reason END AS reason,
        CASE WHEN o.name IS NOT NULL THEN 'in the {_SET}' || o.name || ': ' || o.told
             WHEN g.name IS NOT NULL
             THEN 'a copy of image ' || g.image_id || ', which is in the {_SET}' || g.name || ': ' || g.told
             ELSE j.detail END AS detail)
    FROM joined j LEFT JOIN groups g USING (survivor) LEFT JOIN own o ON o.image_id = j.image_id ORDER BY j.image_id"""


def _alike(con: duckdb.DuckDBPyConnection, bounds: Bounds) -> pa.Table:
    """Each member whose vector is alike to a protected one, with the nearest: (image_id, name, cosine)."""
    found: list[tuple[int, str, float]] = []
    names, theirs = _protected_vectors(con, bounds)
    if bounds.join is not None and len(theirs):
        for ids, ours in _member_vectors(con, bounds):
            cosines, places = _nearest(ours, theirs)
            for row in np.flatnonzero(cosines > bounds.join):
                found.append((int(ids[row]), names[places[row]], float(cosines[row])))
    return pa.Table.from_pylist([dict(zip(_ALIKE.names, row, strict=True)) for row in found], schema=_ALIKE)


_ALIKE = pa.schema({"image_id": pa.int64(), "name": pa.string(), "cosine": pa.float64()})


def _protected_vectors(con: duckdb.DuckDBPyConnection, bounds: Bounds) -> tuple[list[str], NDArray[np.float32]]:
    """The set of each protected vector of the model, and the vectors (n, width)."""
    table = (
        con.execute(
            "SELECT name, vector FROM lake.protected_vectors WHERE model = $1 ORDER BY name, image_id", [bounds.model]
        )
        .to_arrow_reader(ROWS)
        .read_all()
    )
    return table["name"].to_pylist(), _matrix(table["vector"].combine_chunks())


def _member_vectors(
    con: duckdb.DuckDBPyConnection, bounds: Bounds
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    reader = con.execute(
        """SELECT subject_id, vector FROM vectors_in
           WHERE model = $1 AND subject_id IN (SELECT image_id FROM members)
           UNION ALL
           SELECT subject_id, vector FROM lake.embeddings
           WHERE subject = 'picture' AND model = $1 AND subject_id IN (SELECT image_id FROM members)
             AND subject_id NOT IN (SELECT subject_id FROM vectors_in WHERE model = $1)""",
        [bounds.model],
    ).to_arrow_reader(ROWS)
    for batch in reader:
        if batch.num_rows:
            yield batch.column("subject_id").to_numpy(), _matrix(batch.column("vector"))


def _matrix(vectors: pa.ListArray) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(vectors), -1) if len(vectors) else flat.reshape(0, 0)


def _nearest(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The largest cosine of each row of `ours`, and whose it is: of several the first."""
    best, places = np.full(len(ours), -2, np.float32), np.zeros(len(ours), np.int64)
    for start in range(0, len(theirs), COLUMNS):
        cosines = ours @ theirs[start : start + COLUMNS].T
        there = cosines.argmax(axis=1)
        found = cosines[np.arange(len(ours)), there]
        better = found > best
        best[better], places[better] = found[better], start + there[better]
    return best, places


def overlaps(warehouse: str, part: str) -> dict[str, int]:
    """How many rows of a part, a ledger or who stands for whom, each set removed: the set that the detail names."""
    with connect(warehouse) as con:
        view(con, "told", [part], "reason VARCHAR, detail VARCHAR")
        rows = con.execute(
            f"""SELECT split_part(split_part(detail, '{_SET}', 2), ':', 1) AS name, count(*) FROM told
                WHERE reason = 'benchmark_overlap' GROUP BY 1 ORDER BY 1"""
        ).fetchall()
    return dict(rows)
