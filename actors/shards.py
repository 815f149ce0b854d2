"""Read the pictures of an img2dataset shard into a fetch part: bytes that are here, and nobody is asked for them."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.web.failure import FetchFailure, Reason, printable
from actors.web.parts import PartWriter
from actors.web.visitor import Fate

CONSENT = "bytes of an img2dataset folder; nobody was asked here; what img2dataset checked is not recorded"
REFUSED = "img2dataset recorded: disallowed by X-Robots-Tag"
BESIDE = ("txt", "json")  # in a tar, the members of a key that are not its picture
AT_ONCE = 8
"""Rows of a Parquet shard in memory: pictures may be as large as `max_bytes` each."""

# What img2dataset writes down is the text of Python's exception, which may hold a path or a query. So a row is told
# in words of ours, by the first pattern that is found.
TOLD: tuple[tuple[str, Reason, str], ...] = (
    ("X-Robots-Tag", "fetch_opted_out", "X-Robots-Tag"),
    (r"HTTP Error 30\d: .*redirect error", "fetch_redirects", "in a circle, or too many"),
    ("HTTP Error", "fetch_http_status", ""),  # the status is the detail
    (
        "name or service not known|name resolution|no address associated|nodename nor servname|getaddrinfo failed",
        "fetch_dns",
        "the host had no address",
    ),
    ("certificate|SSL", "fetch_tls", "TLS failed"),
    ("timed out|timeout", "fetch_timeout", "not over in its time"),
    (
        "connection refused|connection reset|connection aborted|unreachable|no route|closed connection|broken pipe",
        "fetch_connect",
        "no connection",
    ),
    ("unknown url type", "fetch_bad_scheme", "no scheme that it reads"),
    ("IncompleteRead", "fetch_incomplete", "the body ended early"),
    ("hash mismatch", "fetch_failed", "other bytes than its list had the hash of"),
)


@dataclass(frozen=True)
class ShardJob:
    """What to read and where to: `pictures` is a tar, or a Parquet file with the bytes in `column`.

    `wanted` is a Parquet file of url, key, status and error_message, the shard's own; `out` the fetch part to write.
    """

    pictures: str
    column: str | None
    written_at: datetime
    wanted: str
    out: str


class ShardGone(Exception):
    """A shard that was there when the run began cannot be opened; the message says what to do next."""


class ShardReader:
    """Reads pictures of at most `max_bytes` out of shards; it remembers the places in the last tar that it read."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._last: tuple[str, dict[str, tuple[int, int]]] = ("", {})

    def __call__(self, job: ShardJob) -> str:
        """Write `job.out`, a row for every row of `job.wanted`, and return its name.

        Raises ShardGone where the shard cannot be opened, and OSError where the part cannot be written.
        """
        aside = Path(job.out).with_name(f".{Path(job.out).name}.{os.getpid()}.reading")
        part = PartWriter(str(aside))
        try:
            for row, found in self._rows(job):
                body = found if isinstance(found, bytes) else None
                part.add(row["url"], _fate(found, job.written_at), body)
            part.close()
            aside.replace(job.out)
        finally:
            aside.unlink(missing_ok=True)
        return job.out

    def _rows(self, job: ShardJob) -> Iterator[tuple[dict[str, Any], bytes | FetchFailure]]:
        """Every wanted row with its bytes, or with why there are none."""
        waiting: dict[str, list[dict[str, Any]]] = {}
        for row in pq.read_table(job.wanted).to_pylist():
            if row["status"] == "success":
                waiting.setdefault(row["key"], []).append(row)
            else:
                yield row, failure_of(row["status"], row["error_message"])
        for key, found in self._pictures(job, set(waiting)) if waiting else ():
            for row in waiting.pop(key, ()):
                yield row, found
        name = Path(job.pictures).name
        for key, rows in waiting.items():
            for row in rows:
                yield row, FetchFailure("fetch_incomplete", f"picture {key} is not in what is left of {name}")

    def _pictures(self, job: ShardJob, keys: set[str]) -> Iterator[tuple[str, bytes | FetchFailure]]:
        if not os.access(job.pictures, os.R_OK):
            raise ShardGone(f"{job.pictures} is gone, or may not be read.\nPut it back, then run again.")
        if job.column is not None:
            return self._of_parquet(job.pictures, job.column, keys)
        return self._of_tar(job.pictures, keys)

    def _of_tar(self, tar: str, keys: set[str]) -> Iterator[tuple[str, bytes | FetchFailure]]:
        if self._last[0] != tar:
            self._last = tar, places_in(tar)
        held = sorted((place, key) for key, place in self._last[1].items() if key in keys)
        with open(tar, "rb") as file:
            for (start, size), key in held:
                if size > self._max_bytes:
                    yield key, self._too_large(size)
                    continue
                file.seek(start)
                body = file.read(size)
                if len(body) == size:
                    yield key, body
                else:
                    yield key, FetchFailure("fetch_incomplete", f"{len(body)} of {size} bytes")

    def _of_parquet(self, path: str, column: str, keys: set[str]) -> Iterator[tuple[str, bytes | FetchFailure]]:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                try:
                    if keys.isdisjoint(file.read_row_group(group, columns=["key"])["key"].to_pylist()):
                        continue
                    for batch in file.iter_batches(AT_ONCE, row_groups=[group], columns=["key", column]):
                        yield from self._of_batch(batch, column, keys)
                except (pa.ArrowException, OSError):  # of this group's pages: its other rows are told as not there
                    continue

    def _of_batch(
        self, batch: pa.RecordBatch, column: str, keys: set[str]
    ) -> Iterator[tuple[str, bytes | FetchFailure]]:
        sizes = pc.binary_length(batch.column(column)).to_pylist()
        for place, (key, size) in enumerate(zip(batch.column("key").to_pylist(), sizes, strict=True)):
            if key not in keys or size is None:
                continue
            yield key, self._too_large(size) if size > self._max_bytes else batch.column(column)[place].as_py()

    def _too_large(self, size: int) -> FetchFailure:
        return FetchFailure("fetch_too_large", f"{size} bytes, over {self._max_bytes} bytes")


def places_in(tar: str) -> dict[str, tuple[int, int]]:
    """Where a tar's pictures stand, by key: (first byte, size). Of one that was cut off, those before the cut."""
    places: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(tar, "r:") as members:
            for member in members:
                key, _, suffix = Path(member.name).name.partition(".")
                if member.isreg() and not member.issparse() and suffix.lower() not in BESIDE:
                    places.setdefault(key, (member.offset_data, member.size))
    except (tarfile.TarError, ValueError, EOFError, OverflowError):  # here it is cut off, or damaged
        pass
    return places


def failure_of(status: str | None, message: str | None) -> FetchFailure:
    """The reason of a row that img2dataset failed, by what it wrote down; never transient, as the folder stays."""
    said = message or ""
    if status != "failed_to_download":  # the resizer never saw the URL, so its words may be told
        return FetchFailure("fetch_failed", f"{status or 'no status'}: {said}")
    for pattern, reason, detail in TOLD:
        if re.search(pattern, said, re.IGNORECASE):
            detail = detail or said.partition("HTTP Error ")[2][:3]
            evidence = REFUSED if reason == "fetch_opted_out" else None
            return FetchFailure(reason, f"img2dataset recorded: {detail}", consent=evidence)
    return FetchFailure("fetch_failed", "img2dataset's error_message says why")


def _fate(found: bytes | FetchFailure, written_at: datetime) -> Fate:
    """The row of what was found; nobody was asked, so there are no attempts."""
    if isinstance(found, FetchFailure):
        consent = found.consent or CONSENT
        return Fate(found.reason, found.detail, 0, consent=printable(consent), fetched_at=written_at)
    return Fate(
        None,
        None,
        0,
        sha256=hashlib.sha256(found).hexdigest(),
        md5=hashlib.md5(found, usedforsecurity=False).hexdigest(),
        nbytes=len(found),
        consent=CONSENT,
        fetched_at=written_at,
    )
