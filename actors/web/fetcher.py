"""The fetching actor: jobs of URLs, visited on one event loop and written down by img2dataset."""

from __future__ import annotations

import asyncio
import ctypes
import glob
import importlib.util
import os
import shutil
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.web import opener
from actors.web.addresses import AddressBook
from actors.web.budget import Budget
from actors.web.errand import Errand
from actors.web.journal import Journal
from actors.web.names import Names
from actors.web.pace import Pace
from actors.web.parts import PartWriter
from actors.web.visitor import LONGEST_WAIT_S, Visitor
from actors.web.watchdog import Watchdog
from filters.recipe import Fetch

BYTES_IN_FLIGHT = 16 << 20  # of bodies in one actor
LET_GO_S = 30.0  # a job that was ended before the loop began it never says that it is over
COPIED_ROWS = 64  # of an earlier part at a time
# Blocks of this size are given back to the system when they are freed. glibc raises its own bound to 32 MB
# after the first picture, and keeps what its threads had.
M_MMAP_THRESHOLD, MMAP_FROM = -3, 256 << 10
M_ARENA_MAX = -8
IMPORTING = threading.Lock()


@dataclass(frozen=True)
class FetchJob:
    """A Parquet file with the distinct URLs to fetch (column `url`), and the part to write.

    `earlier` is an older part of the same URLs: its settled rows are taken over, its transient ones asked again.
    """

    urls: str
    out: str
    earlier: str | None = None


class Fetcher:
    """Fetches parts; one object serves several threads (lanes), so that a stalled URL holds up its part only.

    `allow` names HOST:PORT pairs that the address guard lets through. `threads` URLs of a part are asked for
    at once; `actors` share the pace at which a host may be asked. Making one gives this process another urllib
    opener, for good: nothing but fetch jobs gets out through it.
    """

    def __init__(self, policy: Fetch, allow: tuple[str, ...], threads: int = 32, actors: int = 1) -> None:
        opener.install()
        _give_memory_back()
        self._downloader = _img2dataset()
        self._threads = threads
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="fetch-loop", daemon=True).start()
        self._visitor = asyncio.run_coroutine_threadsafe(_visitor(policy, allow, actors), self._loop).result()
        self._watchdog = Watchdog(_longest_silence(policy))

    def __call__(self, job: FetchJob) -> str:
        """Writes `job.out`, one row for every row of `job.urls`, and returns its name.

        A job that was cut off is begun anew, but asks nobody again who gave no picture. Raises Outage and
        ContactMissing; nothing is marked failed then.
        """
        out = Path(job.out)
        for left in out.parent.glob(f".{glob.escape(out.name)}.*.fetching"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        journal = Journal(out.with_name(f".{out.name}.refusals"))
        folder = tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".fetching", dir=out.parent)
        try:
            part = PartWriter(f"{folder}/part.parquet")
            errand = Errand(_urls(job, part, self._vouch), journal, part, self._watchdog.pat)
            with self._watchdog.over():
                self._download(errand, folder)
            if errand.failure is not None:
                raise errand.failure
            os.replace(f"{folder}/part.parquet", out)
            journal.remove()
        finally:
            journal.close()
            shutil.rmtree(folder, ignore_errors=True)
        return job.out

    def _vouch(self, url: str) -> None:
        self._loop.call_soon_threadsafe(self._visitor.vouch, url)

    def _download(self, errand: Errand, folder: str) -> None:
        number = opener.TICKETS.open_job(errand)
        visits = asyncio.run_coroutine_threadsafe(errand.run(self._visitor, self._threads), self._loop)
        try:
            shard = f"{folder}/tickets.feather"
            count = len(errand.urls)
            tickets = pa.table({"url": pa.array([opener.ticket(number, n) for n in range(count)], pa.string())})
            with pa.OSFile(shard, "wb") as file, pa.ipc.new_file(file, tickets.schema) as writer:
                writer.write_table(tickets)
            # not by calling the downloader, which prints an exception and goes on
            self._downloader(
                sample_writer_class=errand.writer,
                resizer=_as_it_is,
                thread_count=1,
                save_caption=False,
                extract_exif=False,
                output_folder=folder,
                column_list=["url"],
                timeout=None,
                number_sample_per_shard=max(10, count),
                oom_shard_count=5,
                compute_hash=None,
                verify_hash_type=None,
                encode_format="bytes",
                retries=0,
                user_agent_token=None,
                disallowed_header_directives=None,
            ).download_shard((0, shard))
        except BaseException:
            visits.cancel()
            raise
        finally:
            opener.TICKETS.close_job(number)
            errand.over.wait(LET_GO_S)
            errand.release()


async def _visitor(policy: Fetch, allow: tuple[str, ...], actors: int) -> Visitor:
    """Made on the loop that it will live on."""
    names = Names(AddressBook(allow), policy.outage_wait_s, socket.getaddrinfo)
    pace = Pace(max(1, policy.per_host // actors), policy.per_host_rate / actors)
    return Visitor(policy, names, pace, Budget(BYTES_IN_FLIGHT, asyncio.get_running_loop().call_soon_threadsafe))


def _longest_silence(policy: Fetch) -> float:
    """Seconds after which nothing having been settled means that something hangs: all attempts at one URL, each
    with a robots.txt before it, and a dead network before that."""
    attempt = 2 * policy.deadline_s * (policy.max_redirects + 2) + LONGEST_WAIT_S
    return 120 + policy.outage_wait_s + (policy.retries + 1) * attempt


def _urls(job: FetchJob, part: PartWriter, vouch: Callable[[str], object]) -> list[str | None]:
    """The URLs that are to be asked for; what an earlier part has settled is written first."""
    urls: list[str | None] = pq.read_table(job.urls, columns=["url"])["url"].to_pylist()
    if job.earlier is None:
        return urls
    again = []
    with pq.ParquetFile(job.earlier) as earlier:
        for rows in earlier.iter_batches(COPIED_ROWS):
            transient = pc.fill_null(rows["transient"], False)
            part.copy(rows.filter(pc.invert(transient)))
            again += rows["url"].filter(transient).to_pylist()
            for url in rows["url"].filter(pc.is_null(rows["reason"])).to_pylist()[:1]:
                vouch(url)
    return again


def _as_it_is(stream: Any, _boxes: object) -> tuple[bytes, None, None, None, None, None]:
    """For img2dataset, in the place of its resizer: the bytes, and no word on sizes; the look will have them."""
    return stream.read(), None, None, None, None, None


def _give_memory_back() -> None:
    """Where the C library is glibc; others have no such bound to raise."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAP_FROM)
        mallopt(M_ARENA_MAX, 2)


def _img2dataset() -> Callable[..., Any]:
    """img2dataset's Downloader, imported without its command.

    The package's own __init__ imports the command, and with it albumentations, OpenCV and (through webdataset)
    torch, and its logger wandb: 650 MB and 7 s more, none of which the downloader needs. What was hidden is
    shown again for who else lives in this process.
    """
    name = "img2dataset.downloader"
    with IMPORTING:
        if name not in sys.modules:
            spec = importlib.util.find_spec("img2dataset")
            assert spec is not None
            bare = types.ModuleType("img2dataset")
            bare.__path__ = list(spec.submodule_search_locations or ())
            stand_ins = {"img2dataset": bare, "torch": None, "wandb": types.ModuleType("wandb")}
            hidden = {key: sys.modules.get(key) for key in stand_ins}
            sys.modules.update({key: value for key, value in stand_ins.items() if hidden[key] is None})  # type: ignore[misc]
            try:
                __import__(name)
            finally:
                for key, value in hidden.items():
                    if value is None:
                        del sys.modules[key]
            sys.modules[name].ThreadPool = _Inline  # type: ignore[attr-defined]
        downloader: Callable[..., Any] = sys.modules[name].Downloader
    return downloader


class _Inline:
    """For img2dataset, in the place of its pool of threads: nothing that it does here waits for the web.

    With its own a row passes through four threads, and they fight the loop for the interpreter: 0.99 CPU seconds
    for 1,000 pictures against 0.6.
    """

    def __init__(self, _threads: int) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    imap_unordered = staticmethod(map)

    def terminate(self) -> None: ...

    def join(self) -> None: ...
