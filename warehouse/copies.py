"""Which pictures are one: what is to be compared, and who stands for whom once it is known what is near."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse import schemas
from warehouse.components import components
from warehouse.groups import Member, Reach, Standing, stand
from warehouse.lake import connect, view, write

MIN_QUALITY = 50
"""Of PDQ, whose gate it is: what is under it has hashes of noise and is joined only when its bytes are equal."""


@dataclass(frozen=True)
class Found:
    """Parts: what a run of `source` has seen, pairs by hashes (`near`) and embeddings (`similar`), and its vectors."""

    warehouse: str
    source: str
    seen: str
    near: Sequence[str]
    similar: Sequence[str]
    vectors: Sequence[str]


@dataclass(frozen=True)
class Rule:
    """What makes two pictures one (filters.recipe.Copies), and the identity of the `model` whose vectors it reads."""

    reach: Reach
    survivor: Literal["best", "first"]
    model: str | None


def write_seen(warehouse: str, source: str, sifted: str, looked: Sequence[str], out: Path) -> str:
    """Write `seen.parquet`: one row per distinct picture that passed the look, `known` where an earlier run kept it.

    `clicks` are those of every source that shows it, this one as it is now.
    """
    with connect(warehouse) as con:
        view(con, "sifted", [sifted], schemas.SIFTED)
        view(con, "looked", looked, schemas.LOOKED)
        con.execute("CREATE TEMP TABLE clicked AS " + _CLICKED)
        con.execute("CREATE TEMP TABLE elsewhere AS " + _ELSEWHERE, [source])
        return write(con, _SEEN, str(out / "seen.parquet"))


_CLICKED = """
    SELECT image_id, sum(coalesce(clicks, 0))::BIGINT AS clicks FROM looked JOIN sifted USING (url)
    WHERE looked.reason IS NULL AND sifted.reason IS NULL GROUP BY image_id"""

_ELSEWHERE = """
    SELECT image_id, sum(clicks)::BIGINT AS clicks FROM lake.sightings
    WHERE source <> $1 AND image_id IN (SELECT image_id FROM clicked) GROUP BY image_id"""

_SEEN = f"""
    WITH shown AS (SELECT image_id, any_value(sha256) AS sha256, max(width::BIGINT * height) AS area,
                          any_value(phash) AS phash, any_value(dhash) AS dhash, any_value(pdq) AS pdq
                   FROM (SELECT * REPLACE (CASE WHEN pdq_quality >= {MIN_QUALITY} THEN phash END AS phash,
                                           CASE WHEN pdq_quality >= {MIN_QUALITY} THEN dhash END AS dhash,
                                           CASE WHEN pdq_quality >= {MIN_QUALITY} THEN pdq END AS pdq) FROM looked)
                   WHERE reason IS NULL GROUP BY image_id)
    SELECT s.*, c.clicks AS clicks_here, c.clicks + coalesce(e.clicks, 0) AS clicks, k.image_id IS NOT NULL AS known
    FROM shown s JOIN clicked c USING (image_id) LEFT JOIN elsewhere e USING (image_id)
    LEFT JOIN (SELECT image_id FROM lake.images WHERE passed) k USING (image_id) ORDER BY image_id"""


def write_nodes(warehouse: str, seen: str, out: Path, *, every: bool) -> str:
    """Write `nodes.parquet`: the run's pictures whose hashes are to be compared; of those with equal ones the first.

    Known ones too: another recipe may have compared them by another rule. With `every` all with equal hashes: they
    are told apart by their vectors.
    """
    with connect(warehouse) as con:
        view(con, "seen", [seen], schemas.SEEN)
        return write(con, _EVERY if every else _NODES, str(out / "nodes.parquet"))


_EVERY = "SELECT image_id, phash, dhash, pdq FROM seen WHERE pdq IS NOT NULL ORDER BY image_id"


_NODES = """
    SELECT min(image_id) AS image_id, phash, dhash, pdq FROM seen
    WHERE pdq IS NOT NULL GROUP BY phash, dhash, pdq ORDER BY image_id"""


def join_copies(found: Found, rule: Rule, out: Path) -> str:
    """Write `joined.parquet`: who stands for each picture of the run, and for those of earlier runs that it concerns.

    Those are what it shows or its copies, and what its source showed before.
    """
    with connect(found.warehouse) as con:
        con.execute("SET VARIABLE source = $1", [found.source])
        view(con, "seen", [found.seen], schemas.SEEN)
        view(con, "near_in", found.near, schemas.NEAR)
        view(con, "similar_in", found.similar, schemas.SIMILAR)
        view(con, "vectors_in", found.vectors, schemas.VECTORS)
        con.execute(_LINKS if rule.reach.near_bits is not None else _NO_LINKS)
        if rule.reach.min_similarity is not None:
            con.execute(_UNLIKE, [rule.reach.min_similarity, rule.model])
        con.execute(_ALIKE, [rule.reach.join, rule.model])
        whole = components(con.execute(_HUNG).fetchall())
        con.register("touched", pa.table({"part": [*whole], "component": [*whole.values()]}, schema=_PARTS))
        con.execute(_MEMBERS)
        con.register("groups", _groups(con, rule))
        return write(con, _JOINED, str(out / "joined.parquet"))


_PARTS = pa.schema({"part": pa.int64(), "component": pa.int64()})

# pictures with equal hashes are linked to the one of them that was compared
_LINKS = f"""
    CREATE TEMP TABLE links AS
    SELECT image_id, other FROM near_in
    UNION ALL
    SELECT s.image_id, n.image_id FROM seen s JOIN ({_NODES}) n USING (phash, dhash, pdq)
    WHERE s.image_id <> n.image_id"""

_NO_LINKS = "CREATE TEMP TABLE links (image_id BIGINT, other BIGINT)"

_UNLIKE = """
    DELETE FROM links WHERE (image_id, other) NOT IN (
        WITH held AS (SELECT subject_id, any_value(vector) AS vector FROM
                          (SELECT subject_id, vector FROM vectors_in WHERE model = $2
                           UNION ALL
                           SELECT subject_id, vector FROM lake.embeddings WHERE subject = 'picture' AND model = $2
                              AND subject_id IN (SELECT image_id FROM links UNION SELECT other FROM links))
                      GROUP BY subject_id)
        SELECT l.image_id, l.other FROM links l JOIN held a ON a.subject_id = l.image_id
        JOIN held b ON b.subject_id = l.other WHERE list_inner_product(a.vector, b.vector) >= $1)"""

# alike by their embeddings: found by this run, or by an earlier one that told and did not join
_ALIKE = """
    INSERT INTO links
    SELECT image_id, other FROM similar_in
    UNION
    SELECT image_id, nearest FROM lake.similarities
    WHERE model = $2 AND max_similarity > $1 AND (image_id IN (SELECT image_id FROM seen)
                                                  OR nearest IN (SELECT image_id FROM seen))"""

# what hangs together: pictures of earlier runs by the component that they are in, and what was forgotten not at all
_HUNG = """
    WITH there AS (SELECT image_id, image_id AS component FROM seen WHERE NOT known
                   UNION ALL SELECT image_id, coalesce(component, duplicate_of, image_id) FROM lake.images WHERE passed)
    SELECT a.component, b.component FROM links l JOIN there a ON a.image_id = l.image_id
    JOIN there b ON b.image_id = l.other
    UNION
    SELECT t.component, t.component FROM there t
    WHERE image_id IN (SELECT image_id FROM seen UNION ALL
                       SELECT image_id FROM lake.sightings WHERE source = getvariable('source'))
      AND component IN (SELECT component FROM there GROUP BY component HAVING count(*) > 1)"""

_MEMBERS = f"""
    CREATE TEMP TABLE members AS
    WITH met AS (
        SELECT i.image_id, t.component, i.width::BIGINT * i.height AS area,
               CASE WHEN i.pdq_quality >= {MIN_QUALITY} THEN i.pdq END AS pdq,
               coalesce(i.duplicate_of, i.image_id) AS root
        FROM lake.images i JOIN touched t ON t.part = coalesce(i.component, i.duplicate_of, i.image_id) WHERE i.passed
        UNION ALL BY NAME
        SELECT s.image_id, t.component, s.area, s.pdq, NULL::BIGINT AS root
        FROM seen s JOIN touched t ON t.part = s.image_id WHERE NOT s.known)
    SELECT m.* REPLACE (coalesce(s.pdq, m.pdq) AS pdq), coalesce(s.clicks, c.clicks, 0) AS clicks
    FROM met m LEFT JOIN seen s USING (image_id)
    LEFT JOIN (SELECT image_id, sum(clicks)::BIGINT AS clicks FROM lake.sightings
               WHERE source <> getvariable('source') GROUP BY image_id) c USING (image_id)"""


def _groups(con: duckdb.DuckDBPyConnection, rule: Rule) -> pa.Table:
    """Who stands for each member of every component that the run touches."""
    rows = con.execute("SELECT component, image_id, pdq, area, clicks, root FROM members").fetchall()
    asked = rule.reach.join is not None or rule.reach.min_similarity is not None
    vectors = _vectors(con, rule) if asked else {}
    held: dict[int, list[Member]] = defaultdict(list)
    for component, image_id, pdq, area, clicks, root in rows:
        held[component].append(Member(image_id, pdq, area, clicks, root, vectors.get(image_id)))
    told = [
        (component, one)
        for component, members in held.items()
        for one in stand(members, rule.reach, stay=rule.survivor == "first")
    ]
    return _table(told)


def _vectors(con: duckdb.DuckDBPyConnection, rule: Rule) -> dict[int, NDArray[np.float32]]:
    held: dict[int, NDArray[np.float32]] = {}
    reader = con.execute(
        """SELECT subject_id, vector FROM vectors_in WHERE model = $1
              AND subject_id IN (SELECT image_id FROM members)
           UNION ALL
           SELECT subject_id, vector FROM lake.embeddings WHERE subject = 'picture' AND model = $1
              AND subject_id IN (SELECT image_id FROM members)""",
        [rule.model],
    ).to_arrow_reader(4096)
    for batch in reader:
        flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
        held.update(zip(batch.column("subject_id").to_pylist(), flat.reshape(batch.num_rows, -1), strict=True))
    return held


def _table(told: Sequence[tuple[int, Standing]]) -> pa.Table:
    ones = [one for _, one in told]
    return pa.table(
        {
            "component": pa.array([component for component, _ in told], pa.int64()),
            "image_id": pa.array([one.image_id for one in ones], pa.int64()),
            "survivor": pa.array([one.survivor for one in ones], pa.int64()),
            "rule": pa.array([one.rule for one in ones], pa.string()),
            "distance": pa.array([one.distance for one in ones], pa.int32()),
            "similarity": pa.array([one.similarity for one in ones], pa.float32()),
            "note": pa.array([one.note for one in ones], pa.string()),
        }
    )


# pictures of earlier runs of which nothing changes are not told, but for those that this run shows again
_JOINED = """
    WITH standing AS (
        SELECT *, image_id IN (SELECT image_id FROM lake.images WHERE passed) AS known FROM groups
        UNION ALL BY NAME
        SELECT image_id, image_id AS survivor, 0 AS distance, image_id AS component, false AS known
        FROM seen ANTI JOIN groups USING (image_id) WHERE NOT known
        UNION ALL BY NAME
        SELECT s.image_id, coalesce(i.duplicate_of, i.image_id) AS survivor, i.duplicate_rule AS rule,
               i.duplicate_distance AS distance, i.duplicate_similarity AS similarity,
               coalesce(i.component, i.duplicate_of, i.image_id) AS component, true AS known
        FROM seen s ANTI JOIN groups USING (image_id) JOIN lake.images i USING (image_id) WHERE s.known)
    SELECT t.image_id, survivor, survivor AS root, rule, distance, similarity, t.component, t.known,
           s.image_id IS NOT NULL AS shown, coalesce(s.clicks, m.clicks) AS clicks, s.clicks_here, note,
           NULL::VARCHAR AS reason, NULL::VARCHAR AS detail
    FROM standing t LEFT JOIN seen s USING (image_id) LEFT JOIN members m USING (image_id) ORDER BY t.image_id"""


def write_outsiders(warehouse: str, seen: str, joined: str, out: Path) -> str:
    """Write `outsiders.parquet`: what was measured of survivors that this run did not look at, for filters."""
    with connect(warehouse) as con:
        view(con, "seen", [seen], schemas.SEEN)
        view(con, "joined", [joined], schemas.JOINED)
        return write(con, _OUTSIDERS, str(out / "outsiders.parquet"))


_OUTSIDERS = """
    SELECT image_id, width, height, format, nbytes, mean, std, entropy, sharpness, phash FROM lake.images
    WHERE image_id IN (SELECT survivor FROM joined WHERE shown) AND image_id NOT IN (SELECT image_id FROM seen)
    ORDER BY image_id"""


def write_accepted(warehouse: str, seen: str, joined: str, refused: pa.Table, out: Path) -> str:
    """Write `accepted.parquet`: `joined`, where the run's best picture stands for a group whose survivor it refuses.

    `refused` are survivors of earlier runs (image_id, reason, detail) that the recipe would not have let pass. In the
    warehouse they go on to stand for their group, as `root`.
    """
    with connect(warehouse) as con:
        view(con, "seen", [seen], schemas.SEEN)
        view(con, "joined", [joined], schemas.JOINED)
        con.register("refused", refused)
        return write(con, _ACCEPTED, str(out / "accepted.parquet"))


_ACCEPTED = """
    WITH instead AS (
        SELECT j.survivor, arg_min(s.image_id, row(-s.area, -s.clicks, s.image_id)) AS image_id,
               'stands for image ' || j.survivor || ', which this recipe turns away: ' || any_value(r.reason)
               || coalesce(' (' || any_value(r.detail) || ')', '') AS note
        FROM joined j JOIN refused r ON r.image_id = j.survivor JOIN seen s ON s.image_id = j.image_id
        GROUP BY j.survivor)
    SELECT j.* REPLACE (if(shown, coalesce(i.image_id, j.survivor), j.survivor) AS survivor,
                        if(shown, coalesce(i.note, j.note), j.note) AS note)
    FROM joined j LEFT JOIN instead i ON i.survivor = j.survivor ORDER BY j.image_id"""


def told_of(warehouse: str, joined: str) -> str:
    """How many pictures there are in a run, and how many of them are copies, in words."""
    with connect(warehouse) as con:
        view(con, "joined", [joined], schemas.JOINED)
        shown, copies = con.execute(
            "SELECT count(*) FILTER (shown), count(*) FILTER (shown AND survivor <> image_id) FROM joined"
        ).fetchall()[0]
    return f"{shown} distinct pictures, {copies} of them copies of another"
