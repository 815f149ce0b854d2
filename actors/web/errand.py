"""One fetch job, between the loop that visits its URLs and img2dataset, which writes them down."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Any

from actors.pictures.privacy import strip
from actors.web import opener
from actors.web.budget import Hold
from actors.web.journal import Journal
from actors.web.parts import PartWriter
from actors.web.visitor import Fate, Visitor

BATCH_ROWS = 64
BATCH_BYTES = 2 << 20
BATCH_S = 0.05


@dataclass(frozen=True)
class _Settled:
    """A row whose fate is known."""

    row: int
    fate: Fate
    body: bytes | None = None
    hold: Hold | None = None


class Errand:
    """The rows of one job: visited on the loop, taken in the order in which they are settled, and written.

    img2dataset asks for ticket after ticket. A ticket stands for no certain row but for the next that is
    settled, so that one thread of it is enough and none waits for a slow host.
    """

    def __init__(self, urls: list[str | None], journal: Journal, part: PartWriter, settled: Callable[[], None]) -> None:
        self.urls = urls
        self._journal, self._part, self._on_settled = journal, part, settled
        self._batch: list[_Settled] = []  # on the loop
        self._batch_bytes = 0
        self._flush_at: asyncio.TimerHandle | None = None
        self._done: SimpleQueue[list[_Settled] | None] = SimpleQueue()
        self._at_hand: list[_Settled] = []  # in the writing thread, the next one last
        self._taken: dict[int, _Settled] = {}  # by ticket
        self._left = set(range(len(urls)))
        self.failure: BaseException | None = None
        self.over = threading.Event()  # the loop has let go of it

    async def run(self, visitor: Visitor, at_once: int) -> None:
        """Visits all rows, on the loop. Raises what is no row's fault: Outage, ContactMissing."""
        rows = iter(range(len(self.urls)))
        lanes = [asyncio.create_task(self._lane(rows, visitor)) for _ in range(min(at_once, len(self.urls)))]
        try:
            await asyncio.gather(*lanes)
        except BaseException as failure:
            self.failure = failure
            raise
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
            self._flush()
            self._done.put(None)
            self.over.set()

    async def _lane(self, rows: Iterator[int], visitor: Visitor) -> None:
        for row in rows:
            fate = self._journal.known.get(self.urls[row])
            if fate is not None:
                self._hand_on(_Settled(row, fate))
                continue
            self._hand_on(await self._visit(row, visitor))
            self._on_settled()

    async def _visit(self, row: int, visitor: Visitor) -> _Settled:
        """A function of its own: a lane that still knew its last body would keep it while it waits for the next."""
        fate, body, hold = await visitor.visit(self.urls[row])
        self._journal.add(self.urls[row], fate)
        return _Settled(row, fate, body, hold)

    def _hand_on(self, settled: _Settled) -> None:
        """In batches: two threads that wake each other for every row spend more on that than on the row."""
        self._batch.append(settled)
        self._batch_bytes += len(settled.body or b"")
        if len(self._batch) >= BATCH_ROWS or self._batch_bytes >= BATCH_BYTES:
            self._flush()
        elif self._flush_at is None:
            self._flush_at = asyncio.get_running_loop().call_later(BATCH_S, self._flush)

    def _flush(self) -> None:
        if self._flush_at is not None:
            self._flush_at.cancel()
            self._flush_at = None
        if self._batch:
            self._done.put(self._batch)
            self._batch, self._batch_bytes = [], 0

    def take(self, ticket: int) -> bytes:
        """For the opener: the bytes of the next row that is settled."""
        if not self._at_hand:
            batch = self._done.get()
            if batch is None:
                self._done.put(None)  # for who asks next
                raise LookupError("the job is over")
            self._at_hand = batch[::-1]
        settled = self._at_hand.pop()
        if settled.body is None:
            self._taken[ticket] = settled
            raise LookupError(settled.fate.reason)  # for img2dataset's own count of failures
        self._taken[ticket] = replace(settled, fate=_hashed(settled.fate, settled.body), body=None)
        return settled.body

    def writer(self, *_shard: object) -> Errand:
        """For img2dataset, which makes its writer of shard number, folder, schema and more of its own."""
        return self

    def write(self, body: bytes | None, _key: str, _caption: str | None, meta: dict[str, Any]) -> None:
        """For img2dataset, in the job's one writing thread: a row is done."""
        _, ticket = opener.read_ticket(meta["url"])
        settled = self._taken.pop(ticket, None)
        if settled is None:
            return  # close() tells of the row that it took
        fate = settled.fate
        if body is None and fate.reason is None:
            fate = Fate("fetch_failed", "in the downloader", 1)  # its own message may hold anything
        try:
            self._tell(settled.row, fate, body)
        finally:
            if settled.hold is not None:
                settled.hold.release()

    def close(self) -> None:
        """For img2dataset, at the end. It drops a row when anything goes wrong while it is written."""
        if self.failure is None:
            for row in sorted(self._left):
                self._tell(row, Fate("fetch_failed", "lost by the downloader", 1), None)
        self._part.close()

    def release(self) -> None:
        """Gives back all room that is still held."""
        while not self._done.empty():
            self._at_hand += self._done.get() or []
        for settled in (*self._at_hand, *self._taken.values()):
            if settled.hold is not None:
                settled.hold.release()

    def _tell(self, row: int, fate: Fate, body: bytes | None) -> None:
        # what a picture says of its maker stays out of the file; the hashes are of what came
        self._part.add(self.urls[row], fate, strip(body) if body is not None else None)
        self._left.discard(row)


def _hashed(fate: Fate, body: bytes) -> Fate:
    sha256 = hashlib.sha256(body).hexdigest()
    return replace(fate, sha256=sha256, md5=hashlib.md5(body, usedforsecurity=False).hexdigest())
