"""Ends a process in which nothing moves any more: its jobs are begun again elsewhere."""

from __future__ import annotations

import faulthandler
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

RENEW_S = 1.0  # arming costs a thread; a row is settled every millisecond


class Watchdog:
    """While jobs are under way, `silence_s` without `pat` ends the process and prints where each thread stood.

    By the standard library's fault handler, whose timer is a thread of C: it barks also where a library holds
    the interpreter. One timer a process.
    """

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._jobs = 0
        self._armed_at = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def over(self) -> Iterator[None]:
        """A job is under way."""
        with self._lock:
            self._jobs += 1
            self._arm()
        try:
            yield
        finally:
            with self._lock:
                self._jobs -= 1
                if self._jobs == 0:
                    faulthandler.cancel_dump_traceback_later()

    def pat(self) -> None:
        """Something moved."""
        if time.monotonic() - self._armed_at > RENEW_S:
            with self._lock:
                if self._jobs:
                    self._arm()

    def _arm(self) -> None:
        self._armed_at = time.monotonic()
        faulthandler.dump_traceback_later(self._silence_s, exit=True)
