"""One fetch job, between the opener that asks for its rows and the writer that is handed them."""

from __future__ import annotations

from typing import Any

from actors.web import opener
from actors.web.budget import Hold
from actors.web.journal import Journal
from actors.web.parts import PartWriter
from actors.web.visitor import Fate, Visitor


class Errand:
    """One job as the opener and img2dataset see it: rows by number, and fates kept between the two."""

    def __init__(self, visitor: Visitor, journal: Journal, urls: list[str | None], path: str) -> None:
        self.urls = urls
        self._visitor, self._journal, self._path = visitor, journal, path
        self._fates: dict[int, Fate] = {}
        self._holds: dict[int, Hold] = {}
        self._told: set[int] = set()
        self._part: PartWriter | None = None

    def run(self, row: int) -> bytes:
        """For the opener, in one of many threads."""
        url = self.urls[row]
        known = self._journal.known.get(url)
        if known is None:
            self._fates[row], body, self._holds[row] = self._visitor.visit(url)
            self._journal.add(url, self._fates[row])
        else:
            self._fates[row], body = known, None
        if body is None:
            raise LookupError(self._fates[row].reason)  # for img2dataset's own count of failures
        return body

    def writer(self, *_shard: object) -> Errand:
        """For img2dataset, which makes its writer of shard number, folder, schema and more of its own."""
        self._part = PartWriter(self._path)
        return self

    def write(self, body: bytes | None, _key: str, _caption: str | None, meta: dict[str, Any]) -> None:
        """For img2dataset, in the job's one writing thread: a row is done."""
        _, row = opener.read_ticket(meta["url"])
        fate = self._fates.pop(row, None)
        if fate is None or (body is None and fate.reason is None):
            fate = Fate("fetch_failed", "in the downloader", 1)  # its own message may hold anything
        self._tell(row, fate, body)

    def close(self) -> None:
        """For img2dataset, at the end. It drops a row when anything goes wrong while it is written."""
        for row in range(len(self.urls)):
            if row not in self._told:
                self._tell(row, Fate("fetch_failed", "lost by the downloader", 1), None)
        self._writing.close()

    def release(self, row: int) -> None:
        """The bytes of a row are written, or given up."""
        hold = self._holds.pop(row, None)
        if hold is not None:
            hold.release()

    def _tell(self, row: int, fate: Fate, body: bytes | None) -> None:
        self._writing.add(self.urls[row], fate, body)
        self._told.add(row)
        self.release(row)

    @property
    def _writing(self) -> PartWriter:
        assert self._part is not None, "img2dataset writes before it made its writer"
        return self._part
