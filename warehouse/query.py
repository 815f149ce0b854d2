"""Answer SQL over the warehouse, read-only, while flows run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from warehouse.errors import WarehouseError
from warehouse.lake import connect, first_line, quoted

FORMATS = {".parquet": "FORMAT parquet", ".csv": "FORMAT csv, HEADER"}


def query(warehouse: str, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of one statement; raises WarehouseError with what DuckDB says."""
    with connect(warehouse, read_only=True) as con:
        try:
            cursor = con.execute(statement)
            names = [column[0] for column in cursor.description or []]
            return names, cursor.fetchall()
        except duckdb.Error as error:
            raise _refused(error) from error


def query_to(warehouse: str, statement: str, out: Path) -> int:
    """Write the answer to a Parquet or CSV file; the number of rows."""
    form = FORMATS.get(out.suffix.lower())
    if form is None:
        raise WarehouseError(f"{out} is neither .parquet nor .csv.\nName the file with one of these.")
    with connect(warehouse, read_only=True) as con:
        try:
            statement = statement.strip().rstrip(";")
            written: int = con.execute(f"COPY ({statement}\n) TO {quoted(str(out))} ({form})").fetchall()[0][0]
            return written
        except duckdb.Error as error:
            raise _refused(error) from error


def _refused(error: duckdb.Error) -> WarehouseError:
    return WarehouseError(
        f"{first_line(error)[:300]}\nTables: SHOW TABLES; columns: DESCRIBE ledger. Only reading is allowed here."
    )
