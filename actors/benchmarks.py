"""Look at pictures that are to be protected: hashes and vectors of them are left, their bytes are not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.pictures.look import Looker, Looking, LookJob
from actors.web.failure import FetchFailure
from actors.web.parts import PartWriter
from actors.web.visitor import Fate


@dataclass(frozen=True)
class Found:
    """A file, called `name`: the whole of `path`, or `size` bytes of it from `start`, as members of a tar are."""

    name: str
    path: str
    start: int = 0
    size: int | None = None


@dataclass(frozen=True)
class BenchmarkJob:
    """Files to look at; `out` and `vectors` are to be written, and `part` holds their bytes meanwhile."""

    found: tuple[Found, ...]
    part: str
    out: str
    vectors: str


class BenchmarkLooker:
    """Looks at files of at most `max_bytes`, with `cores` of its own."""

    def __init__(self, looking: Looking, max_bytes: int, cores: int) -> None:
        self._look, self._max_bytes = Looker(looking, cores), max_bytes

    def __call__(self, job: BenchmarkJob) -> str:
        """Write `job.out`, a row for every file, and the vectors; the bytes are gone when it returns or raises."""
        try:
            self._gather(job)
            return self._look(LookJob(job.part, job.out, job.vectors)).out
        finally:
            Path(job.part).unlink(missing_ok=True)

    def _gather(self, job: BenchmarkJob) -> None:
        part = PartWriter(job.part)
        for name, body in self._bodies(job):
            part.add(name, _fate(body), body if isinstance(body, bytes) else None)
        part.close()

    def _bodies(self, job: BenchmarkJob) -> Iterator[tuple[str, bytes | FetchFailure]]:
        for found in job.found:
            try:
                yield found.name, self._read(found)
            except OSError as error:
                yield found.name, FetchFailure("fetch_failed", error.strerror or type(error).__name__)

    def _read(self, found: Found) -> bytes | FetchFailure:
        most = self._max_bytes + 1 if found.size is None else min(found.size, self._max_bytes + 1)
        with open(found.path, "rb") as file:
            file.seek(found.start)
            body = file.read(most)
        if len(body) > self._max_bytes:
            return FetchFailure("fetch_too_large", f"over {self._max_bytes} bytes")
        if found.size is not None and len(body) < found.size:
            return FetchFailure("fetch_incomplete", f"{len(body)} of {found.size} bytes")
        return body


def _fate(body: bytes | FetchFailure) -> Fate:
    if isinstance(body, FetchFailure):
        return Fate(body.reason, body.detail, 0)
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    return Fate(None, None, 0, sha256=hashlib.sha256(body).hexdigest(), md5=md5, nbytes=len(body))
