"""Contestants in new processes of their own: all get ready, start together, and the clock runs while they work."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from typing import Generic, TypeVar

T = TypeVar("T")
Ready = Callable[[], Callable[[], T]]
"""Gets ready (imports, loads, warms up) and gives the work itself."""

_gate: Barrier | None = None


@dataclass(frozen=True)
class Raced(Generic[T]):
    """Seconds from the first start to the last end, and what each contestant's work gave, in their order."""

    seconds: float
    gave: list[T]


def race(contestants: Sequence[Ready[T]]) -> Raced[T]:
    """Let these work at the same time, each in a process of its own; the first error of one of them is raised."""
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(len(contestants))
    with ProcessPoolExecutor(len(contestants), context, _meet_at, (gate,)) as pool:
        running = [pool.submit(_run, contestant) for contestant in contestants]
        errors = [error for error in (one.exception() for one in running) if error is not None]
        if errors:
            raise next((error for error in errors if not isinstance(error, BrokenBarrierError)), errors[0])
        ran = [one.result() for one in running]
    seconds = max(ended for _, ended, _ in ran) - min(began for began, _, _ in ran)
    return Raced(seconds, [gave for _, _, gave in ran])


def in_turn(contestants: Sequence[Ready[T]]) -> Raced[T]:
    """The same in this process, one after the other: for a test, which has no time for so many starts."""
    works = [contestant() for contestant in contestants]
    began = time.monotonic()
    gave = [work() for work in works]
    return Raced(time.monotonic() - began, gave)


def _meet_at(gate: Barrier) -> None:
    global _gate
    _gate = gate


def _run(contestant: Ready[T]) -> tuple[float, float, T]:
    assert _gate is not None
    try:
        work = contestant()
    except BaseException:
        _gate.abort()  # or the others would wait for it
        raise
    _gate.wait()
    began = time.monotonic()
    gave = work()
    return began, time.monotonic(), gave
