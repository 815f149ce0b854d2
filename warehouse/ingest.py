"""Read a log of candidates, whatever its format, into one Parquet part with ids, in bounded memory."""

from __future__ import annotations

import csv
import glob
import gzip
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from warehouse.errors import SourceError
from warehouse.ids import content_id_sql, file_hash
from warehouse.lake import connect, quoted, write
from warehouse.shards import SHARD_NUMBER, find_shards, folder_hash, rows_sql, unfinished

TEXT_COLUMNS = ("url", "page_url", "query", "title", "surrounding", "alt", "ts")
COUNT_COLUMNS = ("impressions", "clicks")
COLUMNS = TEXT_COLUMNS + COUNT_COLUMNS
ROW_GROUP = 20_480
"""Rows of a row group of the part: what one sift job reads."""

# Dialect, columns and types are given, never sniffed: a sniffer drops lines that do not fit its guess (and all after a
# #) without a word, rewrites texts that look like a date or a UUID, and fails at the first row that its sample lacked.
_CSV = "auto_detect = false, header = true, quote = '\"', escape = '\"', hive_partitioning = false"
_JSON = "format = 'newline_delimited', hive_partitioning = false"
READERS = {
    ".parquet": "read_parquet({file}, hive_partitioning = false)",
    ".csv": "read_csv({file}, delim = ',', columns = {columns}, " + _CSV + ")",
    ".tsv": "read_csv({file}, delim = '\t', columns = {columns}, " + _CSV + ")",
    ".jsonl": "read_json({file}, columns = {columns}, " + _JSON + ")",
    ".ndjson": "read_json({file}, columns = {columns}, " + _JSON + ")",
}


def suffix_of(source: str) -> str:
    """The format's suffix of a source's name, with `.gz` taken off."""
    return Path(source.removesuffix(".gz")).suffix.lower()


def check_source(source: str) -> Path:
    """The source's path, if it is a file of a format that is read here, or an img2dataset folder with a whole shard."""
    path = Path(source)
    if not path.exists():
        raise SourceError(f"There is no file {source}.\nCheck the path: a source is one log file.")
    if path.is_dir():
        find_shards(path)
        return path
    if suffix_of(source) not in READERS:
        raise SourceError(
            f"{source} has no suffix that tells its format.\nName it {', '.join(READERS)}, each also with .gz."
        )
    if path.stat().st_size == 0:
        raise SourceError(f"{source} is empty.\nA log needs a url column and at least one row.")
    return path


def source_hash(source: Path) -> str:
    """What stands for a source's content: of a file the sha256 of its bytes, of a folder see `shards.shard_hash`."""
    return folder_hash(source) if source.is_dir() else file_hash([source])


def ingest(source: str, out: str, warehouse: str, *, limit: int | None = None) -> int:
    """Write the candidates of `source` to the Parquet part `out`; the number of rows.

    Columns: candidate_id, source_row, COLUMNS, fault (why a count cannot be read, else null). Absent columns are
    null. Raises SourceError where the file is broken, has no rows or no url column. Of a folder the whole shards are
    read, in their order and that of their keys; what is not whole is told on stderr.
    """
    path = check_source(source)
    try:
        with _plain(path, Path(out).parent) as plain, connect(warehouse) as con:
            reader, present = _folder_reader(con, path) if path.is_dir() else _reader(con, source, plain)
            write(con, _candidates(reader, present, limit), out, row_group=ROW_GROUP)
            rows: int = con.execute(f"SELECT count(*) FROM read_parquet({quoted(out)})").fetchall()[0][0]
    except (duckdb.Error, csv.Error, zlib.error, UnicodeDecodeError, EOFError, OSError) as error:
        raise SourceError(
            f"{source} cannot be read: {_told(error)}\nRepair the file, or export the log again."
        ) from error
    if rows == 0:
        Path(out).unlink()  # a part that stays is taken for a source that was read
        raise SourceError(f"{source} has a header but no rows.\nNothing was curated; give a log with rows.")
    return rows


def _reader(con: duckdb.DuckDBPyConnection, source: str, plain: Path) -> tuple[str, list[str]]:
    """SQL that reads the file, and the columns that it then has; SourceError without a url column."""
    file = quoted(glob.escape(str(plain)))  # a name with a * is a name
    suffix = suffix_of(source)
    if suffix in (".csv", ".tsv"):
        present = _header(plain, "," if suffix == ".csv" else "\t")
    else:
        sniffed = f"read_json({file}, {_JSON}, map_inference_threshold = -1)"
        seen = READERS[suffix].format(file=file) if suffix == ".parquet" else sniffed
        present = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {seen}").fetchall()]
    if "url" not in present:
        raise SourceError(
            f"{source} has no column `url`; it has {', '.join(present[:8])}.\n"
            "Rename the column that holds the picture's address to `url`."
        )
    if suffix in (".jsonl", ".ndjson"):
        present = [*COLUMNS, "source_row"]  # a key may stand in later rows only
    columns = ", ".join(f"{quoted(column)}: 'VARCHAR'" for column in present)
    return READERS[suffix].format(file=file, columns=f"{{{columns}}}"), present


def _folder_reader(con: duckdb.DuckDBPyConnection, folder: Path) -> tuple[str, list[str]]:
    """SQL that reads the metadata of the whole shards, and the columns that it then has.

    img2dataset's `caption` is an alt text unless the metadata has a column `alt`.
    """
    left_out = unfinished(folder)
    if left_out:
        names = ", ".join(left_out[:5]) + (" ..." if len(left_out) > 5 else "")
        print(f"{folder}: without _stats.json and left out: {names} ({len(left_out)} shards)", file=sys.stderr)
    rows = rows_sql(find_shards(folder))
    present = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM {rows}").fetchall()]
    if not {"url", "key"} <= set(present):
        raise SourceError(
            f"The shards of {folder} have no columns `url` and `key`; they have {', '.join(present[:8])}.\n"
            "Give a folder that img2dataset wrote, or one log file."
        )
    read = [name for name in (*COLUMNS, "source_row") if name in present]
    alt = ["caption AS alt"] if "caption" in present and "alt" not in present else []
    ordered = f"SELECT {', '.join(read + alt)} FROM {rows} ORDER BY {SHARD_NUMBER}, length(key), key"
    return f"({ordered})", read + ["alt"] * len(alt)


def _header(path: Path, separator: str) -> list[str]:
    """The columns that the first line names; one without a name, or with one that stood before, gets a name."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        named = next(csv.reader(file, delimiter=separator), [])
    return [name if name and name not in named[:place] else f"column {place}" for place, name in enumerate(named)]


def _told(error: Exception) -> str:
    """What DuckDB says of a file (it names line and column), without the page that follows."""
    said = " ".join(re.split("LINE 1:|Possible fixes|Stack Trace", str(error))[0].split())
    return said[:300]


@contextmanager
def _plain(path: Path, folder: Path) -> Iterator[Path]:
    """A file that DuckDB reads: gzipped text as it is, a gzipped Parquet file unpacked for the while."""
    if path.name.endswith(".parquet.gz"):
        folder.mkdir(parents=True, exist_ok=True)
        unpacked = folder / f".{path.stem}.unpacked"
        try:
            with gzip.open(path) as packed, open(unpacked, "wb") as plain:
                shutil.copyfileobj(packed, plain, 1 << 20)
            yield unpacked
        finally:
            unpacked.unlink(missing_ok=True)
    else:
        if path.suffix == ".gz":
            _whole(path)
        yield path


def _whole(path: Path) -> None:
    """Raise EOFError or BadGzipFile unless all of the file is there: DuckDB takes what was cut off for the end."""
    with gzip.open(path) as packed:
        while packed.read(1 << 20):
            pass


def _candidates(reader: str, present: list[str], limit: int | None) -> str:
    """SQL that reads, types and numbers the rows; equal rows are told apart by their ordinal."""
    # CSV cannot tell an empty text from none, so nothing here does: the same rows have the same ids in every format
    read = [
        f"nullif({column}::VARCHAR, '') AS {column}" if column in present else f"NULL::VARCHAR AS {column}"
        for column in TEXT_COLUMNS
    ]
    for column in COUNT_COLUMNS:
        value = f"{column}::VARCHAR" if column in present else "NULL::VARCHAR"
        read += [f"TRY_CAST(TRY_CAST({value} AS DOUBLE) AS BIGINT) AS {column}", f"{value} AS raw_{column}"]
    position = "file_row" if "source_row" not in present else "coalesce(TRY_CAST(source_row AS BIGINT), file_row)"
    fault = " ".join(
        f"WHEN {column} IS NULL AND raw_{column} IS NOT NULL AND trim(raw_{column}) <> '' "
        f"THEN '{column} ' || left(raw_{column}, 40) || ' is not a number'"
        for column in COUNT_COLUMNS
    )
    # chr(31) cannot stand in a log's text by accident; where it does, equal contents still have their ordinals
    values = " || chr(31) || ".join(f"coalesce({column}::VARCHAR, chr(30))" for column in COLUMNS)
    kept_row = ", source_row" if "source_row" in present else ""
    return f"""
        WITH numbered AS (SELECT {", ".join(read)}{kept_row}, row_number() OVER () - 1 AS file_row
                          FROM {reader} {f"LIMIT {limit}" if limit else ""}),
        told AS (SELECT *, {values} AS content FROM numbered),
        ordered AS (SELECT *, row_number() OVER (PARTITION BY content ORDER BY file_row) AS ordinal FROM told)
        SELECT {content_id_sql("content || chr(31) || ordinal")} AS candidate_id, {position}::BIGINT AS source_row,
               {", ".join(COLUMNS)}, CASE {fault} END AS fault
        FROM ordered ORDER BY file_row"""
