"""Open a warehouse: a DuckLake catalogue, the folder of its data, and the folder of parts in work."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import duckdb
import pyarrow as pa

from warehouse.errors import WarehouseError
from warehouse.tables import create_tables

EXTENSIONS = ("ducklake", "sqlite_scanner")
MEMORY_LIMIT = "4GB"
"""What DuckDB holds in memory before it spills to the work folder: actors need the rest."""

_attached: dict[tuple[str, bool], tuple[int, duckdb.DuckDBPyConnection]] = {}
"""Databases of this process by catalogue and mode, each with the inode of its catalogue.

DuckDB checks the signature of an extension whenever a database loads it: 0.3 s of CPU for the two, more than most
statements here take. A connection is a cursor of such a database, with transactions and temporary tables of its own.
"""
_attaching = Lock()


@dataclass(frozen=True)
class Location:
    """Where a warehouse is: its catalogue as DuckLake names it, its data, and its parts in work."""

    catalog: str
    data: str
    work: Path
    extensions: tuple[str, ...] = EXTENSIONS


def locate(warehouse: str) -> Location:
    """A folder holds all three; `postgres:...#FOLDER_OR_URL#WORK_FOLDER` is a team's warehouse.

    The team form names a libpq connection string, the data path (a folder or an object store's URL)
    and a folder that all nodes see for the parts in work.
    """
    if warehouse.startswith(("postgres:", "postgresql:")):
        parts = warehouse.split("#")
        if len(parts) != 3:
            raise WarehouseError(
                "A PostgreSQL warehouse is named postgres:CONNECTION#DATA_PATH#WORK_FOLDER.\n"
                "Example: postgres:dbname=zeromill host=db#s3://bucket/lake/#/shared/zeromill"
            )
        connection = parts[0].partition(":")[2]
        # DuckLake takes a bare URL for the name of a file: the prefix says whose it is
        named = f"postgres:postgresql:{connection}" if connection.startswith("//") else f"postgres:{connection}"
        needs = ("ducklake", "postgres_scanner") + (("httpfs",) if "://" in parts[1] else ())
        return Location(named, parts[1], Path(parts[2]), needs)
    root = Path(warehouse).expanduser().resolve()
    return Location(f"sqlite:{root / 'catalog.sqlite'}", f"{root / 'data'}/", root / "work")


def anywhere(warehouse: str) -> str:
    """The warehouse's name as it holds from any folder: what is handed to other processes."""
    if warehouse.startswith(("postgres:", "postgresql:")):
        return warehouse
    return str(Path(warehouse).expanduser().resolve())


def shown(warehouse: str) -> str:
    """The warehouse's name for messages and logs: a password in a team's name is not shown."""
    masked = re.sub(r"(password\s*=\s*)('[^']*'|[^\s#]+)", r"\1***", warehouse, flags=re.IGNORECASE)
    return re.sub(r"(//[^:/@#]*):[^@#]*@", r"\1:***@", masked)


def exists(warehouse: str) -> bool:
    """Whether a warehouse stands there; WarehouseError where its server does not answer."""
    place = locate(warehouse)
    if place.catalog.startswith("sqlite:"):
        return Path(place.catalog[len("sqlite:") :]).exists()
    try:
        _database(place, read_only=True)
    except duckdb.InvalidInputException:  # a catalogue without DuckLake's own tables
        return False
    except duckdb.Error as error:
        raise _shut(warehouse, error) from error
    return True


def prepare(warehouse: str) -> Location:
    """Make the warehouse's folders and tables where they are missing, and say where it is."""
    place = locate(warehouse)
    try:
        place.work.mkdir(parents=True, exist_ok=True)
        probe = place.work / ".writable"
        probe.touch()
        probe.unlink()
        if "://" not in place.data:
            Path(place.data).mkdir(parents=True, exist_ok=True)
        with connect(warehouse) as con:
            create_tables(con)
    except (OSError, duckdb.Error) as error:
        raise WarehouseError(
            f"Cannot write to the warehouse {shown(warehouse)}: {first_line(error)}\n"
            "Name another with --warehouse or ZEROMILL_WAREHOUSE, or make this one writable."
        ) from error
    return place


@contextmanager
def connect(warehouse: str, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection whose default database `lake` is the warehouse; many may read at any time.

    Leaving the block without COMMIT rolls back. Raises WarehouseError where the warehouse cannot be opened.
    """
    place = locate(warehouse)
    if read_only and not exists(warehouse):
        raise WarehouseError(
            f"There is no warehouse at {shown(warehouse)}.\n"
            "Run `zeromill curate` first, or name another with --warehouse or ZEROMILL_WAREHOUSE."
        )
    try:
        con = _database(place, read_only).cursor()
    except duckdb.Error as error:
        raise _shut(warehouse, error) from error
    try:
        con.execute("USE lake")
        con.execute("SET TimeZone = 'UTC'")
        con.execute("SET enable_progress_bar = false")
        yield con
    finally:
        con.close()


def _shut(warehouse: str, error: duckdb.Error) -> WarehouseError:
    return WarehouseError(
        f"The warehouse {shown(warehouse)} cannot be opened: {shown(first_line(error))[:300]}\n"
        "Name another with --warehouse or ZEROMILL_WAREHOUSE, or see to its catalogue."
    )


def _database(place: Location, read_only: bool) -> duckdb.DuckDBPyConnection:
    """The database of this process that holds the warehouse; a catalogue that was replaced is attached anew."""
    with _attaching:
        inode, database = _attached.pop((place.catalog, read_only), (-1, None))
        if database is not None and (inode != _inode(place) or not _sound(database)):
            database.close()
            database = None
        if database is None:
            database = _opened(place, read_only)
        _attached[place.catalog, read_only] = (_inode(place), database)
        return database


def _sound(database: duckdb.DuckDBPyConnection) -> bool:
    """False after an internal error of DuckDB, which a broken file can cause: it then refuses all further work."""
    try:
        database.execute("SELECT 1")
    except duckdb.Error:
        return False
    return True


def _inode(place: Location) -> int:
    """Of the catalogue's file; 0 where it is no file or not there."""
    if not place.catalog.startswith("sqlite:"):
        return 0
    try:
        return Path(place.catalog[len("sqlite:") :]).stat().st_ino
    except OSError:
        return 0


def _opened(place: Location, read_only: bool) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    try:
        for name in place.extensions:
            load_extension(con, name)
        con.execute(_attach(place, read_only))
        con.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        if place.work.exists() and not read_only:
            con.execute(f"SET temp_directory = {quoted(str(place.work / 'spill'))}")
    except BaseException:
        con.close()
        raise
    return con


def load_extension(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Load an extension from its Python package; only where that is missing ask DuckDB to install it."""
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        con.install_extension(name)
        con.load_extension(name)
        return
    folder = Path(spec.submodule_search_locations[0])
    binary = folder / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"
    if not binary.exists():
        raise WarehouseError(
            f"The package duckdb-extension-{name.replace('_', '-')} is not of DuckDB {duckdb.__version__}.\n"
            "Install the very version of DuckDB: the two must match."
        )
    con.load_extension(str(binary))


def loadable() -> dict[str, str]:
    """Each extension and why it cannot be loaded from its package, empty where it can."""
    told: dict[str, str] = {}
    for name in (*EXTENSIONS, "postgres_scanner", "httpfs"):
        try:
            with duckdb.connect() as con:
                load_extension(con, name)
            told[name] = ""
        except (duckdb.Error, WarehouseError) as error:
            told[name] = first_line(error)
    return told


def _attach(place: Location, read_only: bool) -> str:
    options = [f"DATA_PATH {quoted(place.data)}"]
    if place.catalog.startswith("sqlite:"):
        # readers poll while the flow commits: without these two the catalogue answers "database is locked"
        options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 30000"]
    if read_only:
        options = ["READ_ONLY"]
    return f"ATTACH {quoted('ducklake:' + place.catalog)} AS lake ({', '.join(options)})"


def view(con: duckdb.DuckDBPyConnection, name: str, parts: Sequence[str], columns: str) -> None:
    """Make the rows of Parquet `parts` readable as `name`; no parts are a view without rows.

    `columns` is the view's schema as DuckDB writes it, `url VARCHAR, image_id BIGINT`.
    """
    if parts:
        listed = ", ".join(quoted(part) for part in parts)
        chosen = ", ".join(pair.strip().split(" ", 1)[0] for pair in columns.split(", "))
        con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {chosen} FROM read_parquet([{listed}])")
    else:
        empty = ", ".join(
            f"NULL::{kind} AS {column}" for column, kind in (pair.strip().split(" ", 1) for pair in columns.split(", "))
        )
        con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {empty} WHERE false")


def write(con: duckdb.DuckDBPyConnection, query: str, out: str, *, row_group: int = 20_480) -> str:
    """Write a query's rows to one Parquet file, whole or not at all, and return its name."""
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.writing")
    try:
        con.execute(
            f"COPY ({query}) TO {quoted(str(aside))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {row_group})"
        )
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return out


def sized(reader: pa.RecordBatchReader, size: int) -> Iterator[pa.Table]:
    """The rows in tables of exactly `size` (the last one shorter): DuckDB's batches may be cut elsewhere."""
    held = reader.schema.empty_table()
    for batch in reader:
        held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        while held.num_rows >= size:
            yield held.slice(0, size)
            held = held.slice(size)
    if held.num_rows:
        yield held


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: BaseException) -> str:
    """What an exception says, without the rest of its page."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
