"""The bare contestant of a fetch bench: libcurl and nothing else; `python -m bench.bare ERRAND`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pycurl

from bench.errand import Errand, Leash

TRANSFERS = 64
"""At once: with 100 the loop takes a fifth more CPU a picture."""

ROW_GROUP_BYTES = 4 << 20


def run(errand: Errand) -> None:
    """libcurl's multi interface in one process without any check, into one Parquet file of url and bytes."""
    leash = Leash()
    urls = [url for part in errand.parts() for url in pq.read_table(part)["url"].to_pylist()]
    errand.ready()
    errand.wait()
    schema = pa.schema([("url", pa.string()), ("bytes", pa.binary())])
    plain = {"compression": {"url": "zstd", "bytes": "none"}, "use_dictionary": False, "write_statistics": ["url"]}
    with pq.ParquetWriter(Path(errand.out) / "part.parquet", schema, **plain) as file:
        held: list[tuple[str, bytes]] = []
        size = 0
        for url, body in loop(urls):
            held.append((url, body))
            size += len(body)
            if size >= ROW_GROUP_BYTES:
                file.write_table(_table(held, schema))
                held, size = [], 0
        file.write_table(_table(held, schema))
    leash.over()


def _table(rows: Sequence[tuple[str, bytes]], schema: pa.Schema) -> pa.Table:
    return pa.table([[url for url, _ in rows], [body for _, body in rows]], schema=schema)


def loop(urls: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Every URL with its body, as they come."""
    multi = pycurl.CurlMulti()
    waiting = iter(urls)
    under_way: dict[pycurl.Curl, tuple[str, io.BytesIO]] = {}
    free = [_handle() for _ in range(TRANSFERS)]
    while True:
        while free and (url := next(waiting, None)) is not None:
            handle, body = free.pop(), io.BytesIO()
            handle.setopt(pycurl.URL, url)
            handle.setopt(pycurl.WRITEFUNCTION, body.write)
            under_way[handle] = url, body
            multi.add_handle(handle)
        if not under_way:
            return
        multi.perform()
        _, good, bad = multi.info_read()
        if bad:
            raise RuntimeError(f"The bare loop failed: {bad[0][2]}; there is nothing to compare.")
        for handle in good:
            multi.remove_handle(handle)
            url, body = under_way.pop(handle)
            free.append(handle)
            yield url, body.getvalue()
        if not good:
            multi.select(1.0)


def _handle() -> pycurl.Curl:
    handle = pycurl.Curl()
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.FAILONERROR, 1)
    handle.setopt(pycurl.NOPROXY, "*")  # loopback, whatever the environment says
    return handle


if __name__ == "__main__":
    run(Errand.load(sys.argv[1]))
