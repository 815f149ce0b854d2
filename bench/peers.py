"""What a stage is held against: the bare work without what makes it safe, exact and repeatable."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from PIL import Image

from warehouse.lake import quoted

TRIES = 3
"""The fastest of so many counts for a peer of SQL, so that its first disk access does not flatter us."""


def fetch(urls: Sequence[str], threads: int) -> float:
    """Seconds to read every URL by urllib in one process a core of `threads` threads, with no check at all."""
    cores = os.cpu_count() or 1
    return _spread(partial(_fetch, threads), [urls[core::cores] for core in range(cores)])


def look(parts: Sequence[str]) -> float:
    """Seconds to decode the pictures of fetched parts by Pillow and resize them to 224x224, one process a core."""
    cores = os.cpu_count() or 1
    return _spread(_look, [parts[core::cores] for core in range(cores)])


def copy(parts: Sequence[str], out: Path) -> float:
    """Seconds of DuckDB's COPY of Parquet files to one Parquet file."""
    return _sql(f"COPY (SELECT * FROM {_of(parts)}) TO {quoted(str(out))} (FORMAT parquet, COMPRESSION zstd)")


def all_pairs(parts: Sequence[str], bits: int) -> float:
    """Seconds in which DuckDB compares both short hashes of every picture with all others', without an index."""
    return _sql(f"""
        WITH h AS (SELECT DISTINCT image_id, phash, dhash FROM {_of(parts)} WHERE reason IS NULL)
        SELECT count(*) FROM h a JOIN h b ON a.image_id < b.image_id
          AND (bit_count(xor(a.phash, b.phash)) <= {bits} OR bit_count(xor(a.dhash, b.dhash)) <= {bits})""")


def _of(parts: Sequence[str]) -> str:
    return f"read_parquet([{', '.join(quoted(part) for part in parts)}])"


def _sql(statement: str) -> float:
    def once() -> float:
        with duckdb.connect() as con:
            began = time.monotonic()
            con.execute(statement).fetchall()
            return time.monotonic() - began

    return min(once() for _ in range(TRIES))


def _spread(work: Callable[[Sequence[str]], None], shares: Sequence[Sequence[str]]) -> float:
    began = time.monotonic()
    with ProcessPoolExecutor(len(shares), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(work, shares))
    return time.monotonic() - began


def _fetch(threads: int, urls: Sequence[str]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback, whatever the environment says

    def read(url: str) -> int:
        with opener.open(url, timeout=15) as answer:
            return len(answer.read())

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(read, urls))


def _look(parts: Sequence[str]) -> None:
    for part in parts:
        for body in pq.read_table(part, columns=["bytes"])["bytes"].to_pylist():
            if body is not None:
                Image.open(io.BytesIO(body)).convert("RGB").resize((224, 224))
