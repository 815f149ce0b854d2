"""Protected sets: pictures that no release may hold, as hashes and vectors, never as bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from warehouse import schemas
from warehouse.copies import MIN_QUALITY
from warehouse.errors import WarehouseError
from warehouse.lake import connect, exists, prepare, shown, view
from warehouse.tables import tables_of


@dataclass(frozen=True)
class ProtectedSet:
    """A set: how many pictures, how many of them flat, which only equal bytes are joined to, and with vectors."""

    name: str
    pictures: int
    flat: int
    embedded: int
    added_at: str


def register(warehouse: str, name: str, looked: Sequence[str], vectors: Sequence[str]) -> ProtectedSet:
    """Put what parts of looks and of vectors say of pictures in the place of the set, in one transaction."""
    with connect(warehouse) as con:
        view(con, "looked", looked, schemas.LOOKED)
        view(con, "vectors_in", vectors, schemas.VECTORS)
        con.execute("BEGIN")
        _delete(con, name)
        con.execute(_INSERT, [name])
        con.execute(_INSERT_VECTORS, [name])
        con.execute("COMMIT")
        return next(one for one in _listed(con) if one.name == name)


_INSERT = """
    INSERT INTO lake.protected BY NAME
    SELECT $1 AS name, sha256, now() AS added_at, any_value(image_id) AS image_id, any_value(phash) AS phash,
           any_value(dhash) AS dhash, any_value(pdq) AS pdq, any_value(pdq_quality) AS pdq_quality
    FROM looked WHERE reason IS NULL GROUP BY sha256 ORDER BY image_id"""

_INSERT_VECTORS = """
    INSERT INTO lake.protected_vectors BY NAME
    SELECT $1 AS name, subject_id AS image_id, model, any_value(vector) AS vector FROM vectors_in
    WHERE subject_id IN (SELECT image_id FROM looked WHERE reason IS NULL)
    GROUP BY subject_id, model ORDER BY subject_id, model"""


def remove(warehouse: str, name: str) -> int:
    """Protect the set no more; how many pictures it had. Raises WarehouseError where there is no such set."""
    sets = {one.name: one for one in list_sets(warehouse)}
    if name not in sets:
        raise WarehouseError(
            f"No set {name} is protected in {shown(warehouse)}; there are: {', '.join(sets) or 'none'}.\n"
            "See `zeromill protect`."
        )
    with connect(warehouse) as con:
        con.execute("BEGIN")
        _delete(con, name)
        con.execute("COMMIT")
    return sets[name].pictures


def _delete(con: duckdb.DuckDBPyConnection, name: str) -> None:
    for table in ("protected", "protected_vectors"):
        con.execute(f"DELETE FROM lake.{table} WHERE name = $1", [name])


def list_sets(warehouse: str) -> list[ProtectedSet]:
    """Every set by its name; none where there is no warehouse yet."""
    if not exists(warehouse):
        return []
    prepare(warehouse)  # one of an earlier version lacks columns
    with connect(warehouse, read_only=True) as con:
        return _listed(con)


def _listed(con: duckdb.DuckDBPyConnection) -> list[ProtectedSet]:
    rows = con.execute(
        f"""SELECT name, count(*), count(*) FILTER (coalesce(pdq_quality, 0) < {MIN_QUALITY}),
                   coalesce(any_value(embedded), 0), strftime(max(added_at), '%Y-%m-%d %H:%M:%S')
            FROM lake.protected
            LEFT JOIN (SELECT name, count(*) AS embedded FROM lake.protected_vectors GROUP BY name) USING (name)
            GROUP BY name ORDER BY name"""
    ).fetchall()
    return [ProtectedSet(*row) for row in rows]


def without_vectors(warehouse: str, model: str | None) -> list[str]:
    """The sets of which some picture has no vector by the model."""
    with connect(warehouse) as con:
        rows = con.execute(
            """SELECT DISTINCT name FROM lake.protected ANTI JOIN
               (SELECT name, image_id FROM lake.protected_vectors WHERE model = $1) USING (name, image_id)
               ORDER BY name""",
            [model],
        ).fetchall()
    return [name for (name,) in rows]


def protected_hash(warehouse: str) -> str:
    """What stands for all that is protected, by set, picture and model; empty where nothing is.

    It is part of a run's identity, and asked before the warehouse is prepared: one of an earlier version is read too.
    """
    if not exists(warehouse):
        return ""
    with connect(warehouse, read_only=True) as con:
        told = [
            con.execute(f"SELECT sha256(string_agg({row}, chr(10) ORDER BY {row})) FROM lake.{table}").fetchall()[0][0]
            for table, row in _ROWS.items()
            if table in tables_of(con)
        ]
    return " ".join(one for one in told if one is not None)


_ROWS = {
    "protected": "concat_ws(' ', name, sha256)",
    "protected_vectors": "concat_ws(' ', name, image_id, model)",
}
