"""The fetching actor: img2dataset's downloader over one part, with our opener and our writer."""

from __future__ import annotations

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
from actors.web.budget import Budget, Hold
from actors.web.parts import PartWriter
from actors.web.visitor import Fate, Visitor
from filters.recipe import Fetch

BYTES_IN_FLIGHT = 80 << 20  # of bodies in one actor
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
        self._downloader, resizer = _img2dataset()
        self._resizer = resizer(
            image_size=0, resize_mode="no", resize_only_if_bigger=False, disable_all_reencoding=True
        )
        self._visitor = Visitor(policy, AddressBook(allow), Budget(BYTES_IN_FLIGHT))
        self._threads = threads

    def __call__(self, job: FetchJob) -> str:
        """Writes `job.out`, one row for every row of `job.urls`, and returns its name."""
        out = Path(job.out)
        urls = pq.read_table(job.urls, columns=["url"])["url"].to_pylist()
        for left in out.parent.glob(f".{out.name}.*.fetching"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        folder = tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".fetching", dir=out.parent)
        try:
            self._download(Errand(self._visitor, urls, f"{folder}/part.parquet"), folder)
            os.replace(f"{folder}/part.parquet", out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return job.out

    def _download(self, errand: Errand, folder: str) -> None:
        number = opener.TICKETS.open_job(errand)
        try:
            shard = f"{folder}/tickets.feather"
            count = len(errand.urls)
            tickets = pa.table(
                {"url": pa.array([opener.ticket(number, row) for row in range(count)], pa.string())}
            )
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
            errand.release(list(range(len(errand.urls))))


class Errand:
    """One job as the opener and img2dataset see it: rows by number, and fates kept between the two."""

    def __init__(self, visitor: Visitor, urls: list[str | None], path: str) -> None:
        self.urls = urls
        self._visitor, self._path = visitor, path
        self._fates: dict[int, Fate] = {}
        self._holds: dict[int, Hold] = {}
        self._told: set[int] = set()
        self._part: PartWriter | None = None

    def run(self, row: int) -> bytes:
        """For the opener, in one of many threads."""
        fate, body, hold = self._visitor.visit(self.urls[row])
        self._fates[row], self._holds[row] = fate, hold
        if body is None:
            raise LookupError(fate.reason)  # img2dataset counts it as failed; the row gets its fate below
        return body

    def writer(self, *_shard: object) -> Errand:
        """For img2dataset, which makes its writer of shard number, folder, schema and more of its own."""
        self._part = PartWriter(self._path, self.release)
        return self

    def write(self, body: bytes | None, _key: str, _caption: str | None, meta: dict[str, Any]) -> None:
        """For img2dataset, in the job's one writing thread: a row is done."""
        _, row = opener.read_ticket(meta["url"])
        lost = Fate("fetch_failed", "in the downloader", 1)  # its message may hold anything
        self._tell(row, self._fates.pop(row, lost), body)

    def close(self) -> None:
        """For img2dataset, at the end. It drops a row when anything goes wrong while it is written."""
        for row in range(len(self.urls)):
            if row not in self._told:
                self._tell(row, Fate("fetch_failed", "lost by the downloader", 1), None)
        self._writing.close()

    def release(self, rows: list[int]) -> None:
        """The bytes of these rows are on disk, or given up."""
        for row in rows:
            hold = self._holds.pop(row, None)
            if hold is not None:
                hold.release()

    def _tell(self, row: int, fate: Fate, body: bytes | None) -> None:
        self._writing.add(row, self.urls[row], fate, body)
        self._told.add(row)

    @property
    def _writing(self) -> PartWriter:
        assert self._part is not None, "img2dataset writes before it made its writer"
        return self._part


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
