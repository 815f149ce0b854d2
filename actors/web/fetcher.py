"""The fetching actor: img2dataset's downloader over one part, with our opener and our writer."""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.web import opener
from actors.web.addresses import AddressBook
from actors.web.budget import Budget
from actors.web.errand import Errand
from actors.web.journal import Journal
from actors.web.visitor import Visitor
from filters.recipe import Fetch

BYTES_IN_FLIGHT = 48 << 20  # of bodies in one actor
# Blocks of this size are given back to the system when they are freed. glibc raises its own bound to 32 MB
# after the first picture, and keeps what 64 threads had: 615 MB against 372 in an actor with 60 pictures of
# 15 MB.
M_MMAP_THRESHOLD, MMAP_FROM = -3, 256 << 10
IMPORTING = threading.Lock()


@dataclass(frozen=True)
class FetchJob:
    """A Parquet file with the distinct URLs to fetch (column `url`), and the part to write."""

    urls: str
    out: str


class Fetcher:
    """Fetches parts; one object serves several threads (lanes), so that a stalled URL holds up its part only.

    `allow` names HOST:PORT pairs that the address guard lets through. `threads` URLs of a part are asked for
    at once. Making one gives this process another urllib opener, for good: nothing but fetch jobs gets out
    through it.
    """

    def __init__(self, policy: Fetch, allow: tuple[str, ...], threads: int = 32) -> None:
        opener.install()
        _give_memory_back()
        self._downloader, resizer = _img2dataset()
        self._resizer = resizer(
            image_size=0, resize_mode="no", resize_only_if_bigger=False, disable_all_reencoding=True
        )
        self._visitor = Visitor(policy, AddressBook(allow), Budget(BYTES_IN_FLIGHT))
        self._threads = threads

    def __call__(self, job: FetchJob) -> str:
        """Writes `job.out`, one row for every row of `job.urls`, and returns its name.

        A job that was cut off is begun anew, but asks nobody again who refused.
        """
        out = Path(job.out)
        urls = pq.read_table(job.urls, columns=["url"])["url"].to_pylist()
        for left in out.parent.glob(f".{glob.escape(out.name)}.*.fetching"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        journal = Journal(out.with_name(f".{out.name}.refusals"))
        folder = tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".fetching", dir=out.parent)
        try:
            self._download(Errand(self._visitor, journal, urls, f"{folder}/part.parquet"), folder)
            os.replace(f"{folder}/part.parquet", out)
            journal.remove()
        finally:
            journal.close()
            shutil.rmtree(folder, ignore_errors=True)
        return job.out

    def _download(self, errand: Errand, folder: str) -> None:
        number = opener.TICKETS.open_job(errand)
        try:
            shard = f"{folder}/tickets.feather"
            count = len(errand.urls)
            tickets = pa.table({"url": pa.array([opener.ticket(number, row) for row in range(count)], pa.string())})
            with pa.OSFile(shard, "wb") as file, pa.ipc.new_file(file, tickets.schema) as writer:
                writer.write_table(tickets)
            # not by calling the downloader, which prints an exception and goes on
            self._downloader(
                sample_writer_class=errand.writer,
                resizer=self._resizer,
                thread_count=max(1, min(self._threads, count)),
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
        finally:
            opener.TICKETS.close_job(number)
            for row in range(len(errand.urls)):
                errand.release(row)


def _give_memory_back() -> None:
    """Where the C library is glibc; others have no such bound to raise."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAP_FROM)


def _img2dataset() -> tuple[Any, Any]:
    """img2dataset's Downloader and Resizer, imported without torch.

    It reaches torch through webdataset, which does without: 490 MB and a second less. The mark that says so
    is taken away again for who else lives in this process.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
    with IMPORTING:
        hidden = "torch" not in sys.modules
        if hidden:
            sys.modules["torch"] = None  # type: ignore[assignment]
        try:
            from img2dataset.downloader import Downloader
            from img2dataset.resizer import Resizer
        finally:
            if hidden:
                del sys.modules["torch"]
    return Downloader, Resizer
