"""The moment at which an attempt is over, however busily the other side drips."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from actors.web.failure import FetchFailure


class Deadline:
    """`seconds` from now; time that we spend on ourselves is not held against the other side."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, more than 0. Raises FetchFailure: fetch_timeout."""
        left = self.at - time.monotonic()
        if left <= 0:
            raise self.failure()
        return left

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While a host's turn, robots.txt or room for bytes is waited for."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.at += time.monotonic() - start

    def failure(self) -> FetchFailure:
        """What to raise when it has passed. Not asked again at once: each further try would cost as long again."""
        return FetchFailure("fetch_timeout", f"not over after {self.seconds:g} s", later=True)
