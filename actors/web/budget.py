"""How many bytes of bodies an actor holds at once, over all of its jobs."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Budget:
    """A bound on bytes in flight: `limit`, and what the oldest reader needs beyond it.

    Nobody waits for ever: what is settled is on its way to disk, and when nothing is, the oldest reader goes on.
    Readers live on one event loop and never block: who gets no room is called when there may be some, through
    `wake` (such as `loop.call_soon_threadsafe`), for who releases is another thread.
    """

    def __init__(self, limit: int, wake: Callable[[Callable[[], None]], object]) -> None:
        self.limit = limit
        self.used = 0
        self.settled = 0  # of them, in bodies that are whole
        self.lock = threading.Lock()
        self.readers: dict[Hold, None] = {}  # oldest first
        self.waiting: dict[Hold, Callable[[], None]] = {}
        self._wake = wake

    def hold(self) -> Hold:
        return Hold(self)

    def retry(self) -> None:
        """On the loop: those that wait ask once more, the oldest first."""
        with self.lock:
            calls = [self.waiting.pop(hold) for hold in list(self.readers) if hold in self.waiting]
        for call in calls:
            call()

    def changed(self) -> None:
        if self.waiting:
            self._wake(self.retry)


class Hold:
    """One body's share: taken while it is read, settled when it is whole, released when it is on disk."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0
        self._settled = 0

    def take(self, count: int, later: Callable[[], None]) -> bool:
        """Room for `count` more bytes; where there is none, `later` is called once when to ask again."""
        budget = self._budget
        with budget.lock:
            budget.readers.setdefault(self)
            alone = budget.settled == 0 and next(iter(budget.readers)) is self
            if not alone and budget.used + count > budget.limit:
                budget.waiting[self] = later
                return False
            budget.used += count
            self._bytes += count
            return True

    def settle(self, count: int) -> None:
        """The body is whole and has `count` bytes; what was taken beyond them is given back."""
        self._leave(count)

    def release(self) -> None:
        """Gives everything back; a second time does nothing."""
        self._leave(0)

    def _leave(self, keep: int) -> None:
        with self._budget.lock:
            self._budget.used += keep - self._bytes
            self._budget.settled += keep - self._settled
            self._bytes = self._settled = keep
            self._budget.readers.pop(self, None)
            self._budget.waiting.pop(self, None)
        self._budget.changed()
