"""What the warehouse knows already of pictures that were fetched again, by their content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from warehouse.ids import fingerprint
from warehouse.lake import connect, quoted, write


def known_vectors(warehouse: str, fetched: Sequence[str], models: Sequence[str], folder: Path) -> dict[str, str]:
    """Write the vectors that pictures of fetched parts have from earlier runs; parts of vectors, by fetched part."""
    if not fetched or not models:
        return {}
    with connect(warehouse) as con:
        listed = ", ".join(quoted(part) for part in fetched)
        con.execute(
            f"""CREATE TEMP TABLE met AS
                SELECT DISTINCT filename AS part, (('0x' || substr(sha256, 1, 16))::UBIGINT >> 1)::BIGINT AS image_id
                FROM read_parquet([{listed}], filename = true) WHERE reason IS NULL AND sha256 IS NOT NULL"""
        )
        con.execute(
            """CREATE TEMP TABLE held AS
               SELECT met.part, e.subject_id, e.model, e.vector FROM lake.embeddings e
               JOIN met ON met.image_id = e.subject_id
               WHERE e.subject = 'picture' AND list_contains($1, e.model)""",
            [list(models)],
        )
        parts = [part for (part,) in con.execute("SELECT DISTINCT part FROM held ORDER BY part").fetchall()]
        return {part: _written(con, part, folder) for part in parts}


def _written(con: duckdb.DuckDBPyConnection, part: str, folder: Path) -> str:
    query = f"SELECT subject_id, model, vector FROM held WHERE part = {quoted(part)} ORDER BY model, subject_id"
    return write(con, query, str(folder / f"known-{fingerprint(part)}.parquet"))
