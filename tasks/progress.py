"""Tell how far a long stage is: a bar on a terminal, plain lines elsewhere, and an artifact in Prefect's UI."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext

EVERY_S = {True: 1.0, False: 10.0}
"""Seconds between two moves of a terminal's bar, and between two plain lines; the artifact follows either."""


class Progress:
    """How many of `total` parts of a stage are done, and how many rows that were."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.done = self.rows = 0
        self.note, self.counted = "", "parts"
        self.began = time.monotonic()
        self.told = self.began
        self.terminal = sys.stderr.isatty()
        self.artifact: UUID | None = None

    def __enter__(self) -> Progress:
        if FlowRunContext.get() is not None or TaskRunContext.get() is not None:
            made = create_progress_artifact(
                0.0 if self.total else 100.0, key=f"progress-{self.stage}", description=f"{self.stage} in parts"
            )
            self.artifact = made if isinstance(made, UUID) else None
        return self

    def advance(self, rows: int = 0) -> None:
        """One more part is done, of so many rows."""
        self.done += 1
        self.rows += rows
        now = time.monotonic()
        if now - self.told >= EVERY_S[self.terminal] or self.done == self.total:
            self.told = now
            self.tell(now)

    def reach(self, done: int, total: int, note: str) -> None:
        """So many steps of so many are done, and something worth reading."""
        self.done, self.total, self.note, self.counted = done, total, note, self.unit
        now = time.monotonic()
        if now - self.told >= EVERY_S[self.terminal] or done == total:
            self.told = now
            self.tell(now)

    def tell(self, now: float) -> None:
        seconds = max(now - self.began, 1e-3)
        speed = f", {self.rows / seconds:,.0f} {self.unit}/s" if self.rows else ""
        line = f"{self.stage}: {self.done}/{self.total} {self.counted}{speed} {self.note}".rstrip()
        if self.terminal:
            filled = 24 * self.done // max(self.total, 1)
            sys.stderr.write(f"\r\x1b[2K  {'━' * filled}{'╌' * (24 - filled)} {line}")
        else:
            sys.stderr.write(f"  {line}\n")
        sys.stderr.flush()
        if self.artifact is not None:
            update_progress_artifact(self.artifact, progress=100.0 * self.done / max(self.total, 1))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.terminal and self.done:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


@contextmanager
def step(stage: str) -> Iterator[list[str]]:
    """Print one line when a step is done: its name, what was put into the list, and its seconds."""
    began = time.monotonic()
    said: list[str] = []
    yield said
    sys.stderr.write(f"{stage:<9} {', '.join(said)}  ({time.monotonic() - began:.1f} s)\n")
    sys.stderr.flush()
