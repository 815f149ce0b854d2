"""The Parquet part that a fetch job writes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from operator import attrgetter

import pyarrow as pa
import pyarrow.parquet as pq

from actors.web.visitor import Fate

SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("bytes", pa.binary()),
        ("sha256", pa.string()),
        ("md5", pa.string()),
        ("nbytes", pa.int64()),
        ("final_url", pa.string()),
        ("content_type", pa.string()),
        ("consent", pa.string()),
        ("fetched_at", pa.timestamp("us", tz="UTC")),
        ("attempts", pa.int32()),
        ("transient", pa.bool_()),
    ]
)
FLUSH_BYTES = 1 << 20  # of pictures in a row group, so that neither its writer nor a reader needs much memory
FLUSH_ROWS = 1000
LARGE_BYTES = 8 << 20  # of which Arrow is told not to keep the room
PLAIN = [name for name in SCHEMA.names if name != "bytes"]
OF_FATE = tuple(name for name in SCHEMA.names if name not in ("url", "bytes"))
_values = attrgetter(*OF_FATE)
ENCODING = threading.Lock()
"""One part of a process is encoded at a time: Arrow and Parquet each hold a copy of what they are given."""


def _table(rows: list[tuple[str | None, bytes | None, Fate]]) -> pa.Table:
    urls, bodies, fates = zip(*rows, strict=True) if rows else ((), (), ())
    told = zip(*map(_values, fates), strict=True) if fates else ((),) * len(OF_FATE)
    columns = dict(zip(OF_FATE, told, strict=True)) | {"url": urls}
    made = {field.name: pa.array(columns[field.name], field.type) for field in SCHEMA if field.name != "bytes"}
    return pa.table(made | {"bytes": _binary(bodies)}, SCHEMA)


def _binary(bodies: Sequence[bytes | None]) -> pa.BinaryArray:
    """The column of bodies; a large one, which stands alone, is looked at where it is."""
    if len(bodies) == 1 and bodies[0] is not None:
        ends = pa.array([0, len(bodies[0])], pa.int32()).buffers()[1]
        return pa.BinaryArray.from_buffers(pa.binary(), 1, [None, ends, pa.py_buffer(bodies[0])])
    return pa.array(bodies, pa.binary())


class PartWriter:
    """Writes one row per URL, in row groups of about 1 MB, the most that it holds back."""

    def __init__(self, path: str) -> None:
        # pictures are compressed already, and their statistics and dictionary would be copies of them
        self._file = pq.ParquetWriter(
            path,
            SCHEMA,
            use_dictionary=["reason", "content_type", "consent"],
            compression={name: "zstd" for name in PLAIN} | {"bytes": "none"},
            write_statistics=PLAIN,
        )
        self._path = path
        self._failure: OSError | None = None
        self._rows: list[tuple[str | None, bytes | None, Fate]] = []
        self._held = 0

    def add(self, url: str | None, fate: Fate, body: bytes | None) -> None:
        self._rows.append((url, body, fate))
        self._held += len(body or b"")
        if self._held >= FLUSH_BYTES or len(self._rows) >= FLUSH_ROWS:
            self.flush()

    def copy(self, rows: pa.RecordBatch) -> None:
        """Rows of an earlier part, as they are."""
        self._write(pa.Table.from_batches([rows], SCHEMA))

    def flush(self) -> None:
        rows, large = self._rows, self._held > LARGE_BYTES
        self._rows, self._held = [], 0
        with ENCODING:
            self._write(_table(rows))
            if large:
                pa.default_memory_pool().release_unused()

    def close(self) -> None:
        """Ends the file. Raises OSError where any of it could not be written, whoever was told of it then."""
        if self._failure is None:
            self.flush()
            self._file.close()
        else:
            raise OSError(f"{self._path} cannot be written: make room there, then run again") from self._failure

    def _write(self, table: pa.Table) -> None:
        try:
            self._file.write_table(table)
        except OSError as err:
            self._failure = err
            raise
