"""Tell how far a long stage is: a bar on a terminal, plain lines elsewhere, and an artifact in Prefect's UI."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext, TaskRunContext

EVERY_S = {True: 1.0, False: 10.0}
"""Seconds between two moves of a terminal's bar, and between two plain lines; the artifact follows either."""


@dataclass
class Lap:
    """What actors did in one go: `marks` are (seconds since it began, rows done till then), one a part.

    `step` is the step that it was a part of, empty where it was none.
    """

    stage: str
    step: str
    seconds: float
    marks: list[tuple[float, int]]


@dataclass
class Clock:
    """How long the steps of a run took, in seconds by name, and the laps of actors in and between them."""

    steps: dict[str, float] = field(default_factory=dict)
    laps: list[Lap] = field(default_factory=list)
    step: str = ""


_clock: ContextVar[Clock | None] = ContextVar("clock", default=None)


@contextmanager
def clocked() -> Iterator[Clock]:
    """A clock for every step and every lap in this block."""
    clock = Clock()
    token = _clock.set(clock)
    try:
        yield clock
    finally:
        _clock.reset(token)


class Progress:
    """How many of `total` parts of a stage are done, and how many rows that were."""

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.done = self.rows = 0
        self.note, self.counted = "", "parts"
        self.began = time.monotonic()
        self.told = self.began
        self.marks: list[tuple[float, int]] = []
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
        self.marks.append((now - self.began, self.rows))
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
        clock = _clock.get()
        if clock is not None:
            clock.laps.append(Lap(self.stage, clock.step, time.monotonic() - self.began, self.marks))
        if self.terminal and self.done:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()


@contextmanager
def step(stage: str) -> Iterator[list[str]]:
    """Print one line when a step is done: its name, what was put into the list, and its seconds."""
    began = time.monotonic()
    said: list[str] = []
    clock = _clock.get() or Clock()
    clock.step = stage
    try:
        yield said
    finally:
        clock.step = ""
        clock.steps[stage] = clock.steps.get(stage, 0.0) + time.monotonic() - began
    sys.stderr.write(f"{stage:<9} {', '.join(said)}  ({time.monotonic() - began:.1f} s)\n")
    sys.stderr.flush()
