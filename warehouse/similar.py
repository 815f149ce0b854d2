"""Which picture is most like each: what is new to the cells of a model, what was found there, and what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from warehouse import schemas
from warehouse.errors import WarehouseError
from warehouse.ids import fingerprint
from warehouse.lake import connect, view, write

NEWCOMERS = "image_id BIGINT, area BIGINT, vector FLOAT[]"
PLACED = "model VARCHAR, cell INTEGER, image_id BIGINT, area BIGINT, vector BLOB"
PAIRS = "image_id BIGINT, other BIGINT, other_area BIGINT, similarity FLOAT"
CELLS = "model VARCHAR, cell INTEGER, centre FLOAT[], fitted_on BIGINT"
SIMILAR = "image_id BIGINT, model VARCHAR, nearest BIGINT, max_similarity FLOAT"
EDGES = "image_id BIGINT, other BIGINT, similarity FLOAT"


@dataclass(frozen=True)
class Standing:
    """What the warehouse holds for a model: pictures that were compared, their cells, and of how many those are made.

    Cells are 0 while the collection is small: all are in cell 0, which has no centre.
    """

    members: int
    cells: int
    fitted_on: int


@dataclass(frozen=True)
class Similar:
    """What comparing made, as parts of SIMILAR, EDGES, CELLS (null where those stay) and of PLACED.

    With `cells` the model's pictures are all in `members`, without only those that are new. `fitted_on` is that of
    the cells that pictures were compared in before.
    """

    model: str
    rows: str
    edges: str
    cells: str | None
    members: tuple[str, ...]
    fitted_on: int


def standing(warehouse: str, model: str) -> Standing:
    """What was compared by the model of that identity."""
    with connect(warehouse) as con:
        return _standing(con, model)


def newcomers(warehouse: str, model: str, looked: Sequence[str], vectors: Sequence[str], folder: Path) -> str:
    """Write the pictures that were not compared yet, by id: of the parts, and of earlier runs that did not compare.

    They are those that passed a look and have a vector of the model, in a part or in the warehouse.
    """
    with connect(warehouse) as con:
        snapshot = con.execute("SELECT id FROM ducklake_current_snapshot('lake')").fetchall()[0][0]
        out = folder / f"new-{fingerprint(model, str(snapshot), *looked, *vectors)}.parquet"
        view(con, "looked", looked, schemas.LOOKED)
        view(con, "vectors", vectors, schemas.VECTORS)
        con.execute("SET VARIABLE model = $1", [model])
        con.execute(_PASSED)
        return write(con, _NEWCOMERS, str(out))


def cells_of(warehouse: str, model: str, out: Path) -> str:
    """Write the model's cells as they stand."""
    with connect(warehouse) as con:
        con.execute("SET VARIABLE model = $1", [model])
        return write(con, "FROM lake.cells WHERE model = getvariable('model') ORDER BY cell", str(out))


def sample(warehouse: str, model: str, new: str, count: int, folder: Path) -> tuple[str, str]:
    """Write those with the smallest ids, of new ones and of those held: ids are hashes, so it is a fair sample."""
    with connect(warehouse) as con:
        view(con, "new", [new], NEWCOMERS)
        con.execute("SET VARIABLE model = $1", [model])
        con.execute(f"""CREATE TEMP TABLE chosen AS SELECT image_id FROM
            (SELECT image_id FROM new UNION ALL
             SELECT image_id FROM lake.cell_members WHERE model = getvariable('model'))
            ORDER BY image_id LIMIT {count}""")
        held = "SELECT image_id, vector FROM lake.cell_members SEMI JOIN chosen USING (image_id)"
        return (
            write(
                con, "SELECT image_id, vector FROM new SEMI JOIN chosen USING (image_id)", str(folder / "new.parquet")
            ),
            write(con, f"{held} WHERE model = getvariable('model')", str(folder / "held.parquet")),
        )


def settle(
    warehouse: str, model: str, new: str, pairs: Sequence[str], join: float | None, folder: Path
) -> tuple[str, str]:
    """Write who is most like whom where that is new or changed, and the pairs above `join`: parts of SIMILAR, EDGES."""
    with connect(warehouse) as con:
        view(con, "new", [new], NEWCOMERS)
        view(con, "pairs", pairs, PAIRS)
        con.execute("SET VARIABLE model = $1", [model])
        con.execute(_BEST)
        above = "false" if join is None else f"similarity > {join!r}::FLOAT"
        edges = f"SELECT DISTINCT image_id, other, similarity FROM pairs WHERE {above} ORDER BY image_id, other"
        return (
            write(con, _ROWS, str(folder / "similar.parquet")),
            write(con, edges, str(folder / "edges.parquet")),
        )


def commit_similar(con: duckdb.DuckDBPyConnection, similar: Similar) -> None:
    """Make what was found count, inside the caller's transaction; WarehouseError where cells changed meanwhile."""
    model = [similar.model]
    if _standing(con, similar.model).fitted_on != similar.fitted_on:
        raise WarehouseError(
            "Another run put the pictures into other cells while this one compared them.\n"
            "Run again: what is done stays, and the pictures are compared in the new cells."
        )
    view(con, "similar_in", [similar.rows], SIMILAR)
    view(con, "members_in", similar.members, PLACED)
    if similar.cells is not None:
        view(con, "cells_in", [similar.cells], CELLS)
        for table in ("cells", "cell_members"):
            con.execute(f"DELETE FROM lake.{table} WHERE model = $1", model)
        con.execute("INSERT INTO lake.cells BY NAME FROM cells_in ORDER BY cell")
    con.execute(
        """INSERT INTO lake.cell_members BY NAME FROM members_in WHERE image_id NOT IN
           (SELECT image_id FROM lake.cell_members WHERE model = $1) ORDER BY cell, image_id""",
        model,
    )
    con.execute(
        "DELETE FROM lake.similarities WHERE model = $1 AND image_id IN (SELECT image_id FROM similar_in)", model
    )
    con.execute("INSERT INTO lake.similarities BY NAME FROM similar_in")


def _standing(con: duckdb.DuckDBPyConnection, model: str) -> Standing:
    rows = con.execute(
        """SELECT (SELECT count(*) FROM lake.cell_members WHERE model = $1), count(*), coalesce(max(fitted_on), 0)
           FROM lake.cells WHERE model = $1""",
        [model],
    ).fetchall()
    return Standing(*rows[0])


_PASSED = """
    CREATE TEMP TABLE passed AS
    SELECT image_id, max(area) AS area FROM
        (SELECT image_id, width::BIGINT * height AS area FROM looked WHERE reason IS NULL
         UNION ALL SELECT image_id, width::BIGINT * height FROM lake.images WHERE passed)
    WHERE image_id NOT IN (SELECT image_id FROM lake.cell_members WHERE model = getvariable('model'))
    GROUP BY image_id"""

_NEWCOMERS = """
    WITH known AS (
        SELECT subject_id, vector FROM vectors WHERE model = getvariable('model')
        UNION ALL SELECT subject_id, vector FROM lake.embeddings
        WHERE subject = 'picture' AND model = getvariable('model') AND subject_id IN (SELECT image_id FROM passed))
    SELECT image_id, any_value(area) AS area, min(vector) AS vector
    FROM passed JOIN known ON subject_id = image_id GROUP BY image_id ORDER BY image_id"""

# who was nearest before is asked again: the new one must be nearer, or as near and earlier in the order
_BEST = """
    CREATE TEMP TABLE best AS
    WITH met AS (SELECT DISTINCT image_id FROM pairs),
    before AS (
        SELECT s.image_id, s.nearest AS other, m.area AS other_area, s.max_similarity AS similarity
        FROM lake.similarities s SEMI JOIN met USING (image_id)
        JOIN lake.cell_members m ON m.image_id = s.nearest AND m.model = s.model
        WHERE s.model = getvariable('model'))
    SELECT image_id, other AS nearest, similarity AS max_similarity FROM (FROM pairs UNION ALL BY NAME FROM before)
    QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY similarity DESC, other_area DESC, other) = 1"""

_ROWS = """
    SELECT image_id, getvariable('model') AS model, nearest, max_similarity FROM
        (SELECT image_id, nearest, max_similarity FROM best
         UNION ALL BY NAME SELECT image_id FROM new ANTI JOIN best USING (image_id)) found
    WHERE NOT EXISTS (FROM lake.similarities s WHERE s.image_id = found.image_id AND s.model = getvariable('model')
                                            AND s.nearest IS NOT DISTINCT FROM found.nearest)
    ORDER BY image_id"""
