"""A table's live rows as Parquet files, for actors: they never open the warehouse."""

from __future__ import annotations

from pathlib import Path

import duckdb

from warehouse.lake import connect, quoted, write

ROW_GROUP = 4096
"""Rows of what is written anew: few enough that a reader who wants some skips the others."""


def files_of(warehouse: str, table: str, folder: Path) -> list[str]:
    """Files that together hold the table's live rows and no other; no rows are no files.

    Most are the warehouse's own, which nobody writes to again: read them and leave them where they are. A file of
    which rows were deleted, one that is not on this machine's file system, and rows that the catalogue itself holds
    (DuckLake keeps an insert of a few there) cannot be read as they lie: their live rows go to one in `folder`.
    """
    with connect(warehouse) as con:
        live: dict[str, int] = dict(
            con.execute(f"SELECT filename, count(*) FROM lake.{table} GROUP BY filename").fetchall()
        )
        whole = _whole(con, live)
        rest = sorted(live.keys() - whole)
        if not rest:
            return sorted(whole)
        snapshot = con.execute("SELECT id FROM ducklake_current_snapshot('lake')").fetchall()[0][0]
        listed = ", ".join(quoted(name) for name in rest)
        rows = f"SELECT * FROM lake.{table} WHERE filename IN ({listed})"
        return [*sorted(whole), write(con, rows, str(folder / f"{table}-{snapshot}.parquet"), row_group=ROW_GROUP)]


def _whole(con: duckdb.DuckDBPyConnection, live: dict[str, int]) -> set[str]:
    """The files on this machine of which every row is live, by the number of their rows."""
    here = [name for name in live if Path(name).is_file()]
    if not here:
        return set()
    listed = ", ".join(quoted(name) for name in here)
    held = con.execute(f"SELECT file_name, num_rows FROM parquet_file_metadata([{listed}])").fetchall()
    return {name for name, rows in held if rows == live[name]}
