"""Answers remembered for a while: one thread asks, the others that want the same wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from actors.web.failure import FetchFailure

K = TypeVar("K")
V = TypeVar("V")

# A transient failure is forgotten before the first retry, which then asks again; once for all who wait
TRANSIENT_S = 0.4
FAILED_S = 300.0


class _Entry(Generic[V]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.until = 0.0
        self.answer: V | None = None
        self.failure: FetchFailure | None = None


class Memory(Generic[K, V]):
    """Remembers what `ask` answered, or how it failed, for `keep_s` seconds and at most `most` keys."""

    def __init__(self, ask: Callable[[K], V], keep_s: float, most: int = 20_000) -> None:
        self._ask, self._keep_s, self._most = ask, keep_s, most
        self._entries: dict[K, _Entry[V]] = {}
        self._lock = threading.Lock()

    def __call__(self, key: K) -> V:
        """The answer for `key`. Raises FetchFailure as `ask` does, and for as long as that is remembered."""
        entry = self._entry(key)
        with entry.lock:
            if entry.until <= time.monotonic():
                self._refresh(key, entry)
            if entry.failure is not None:
                raise entry.failure.again()
            assert entry.answer is not None
            return entry.answer

    def _entry(self, key: K) -> _Entry[V]:
        with self._lock:
            if key not in self._entries and len(self._entries) >= self._most:
                self._entries.pop(next(iter(self._entries)))
            return self._entries.setdefault(key, _Entry())

    def _refresh(self, key: K, entry: _Entry[V]) -> None:
        entry.answer, entry.failure, keep_s = None, None, self._keep_s
        try:
            entry.answer = self._ask(key)
        except FetchFailure as failure:
            entry.failure = failure
            keep_s = TRANSIENT_S if failure.transient else min(FAILED_S, self._keep_s)
        entry.until = time.monotonic() + keep_s
