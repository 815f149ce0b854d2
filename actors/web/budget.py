"""How many bytes of bodies an actor holds at once, over all of its threads."""

from __future__ import annotations

import threading


class Budget:
    """A bound on bytes in flight: `limit`, and what the oldest reader needs beyond it.

    Nobody waits for ever: what is settled is on its way to disk, and when nothing is, the
    oldest reader goes on.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.settled = 0  # of them, in bodies that are whole
        self.room = threading.Condition()
        self.readers: dict[Hold, None] = {}  # oldest first

    def hold(self) -> Hold:
        return Hold(self)


class Hold:
    """One body's share: taken while it is read, settled when it is whole, released when it is on disk."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0
        self._settled = 0

    def take(self, count: int) -> None:
        """Waits until there is room for `count` more bytes."""
        budget = self._budget
        with budget.room:
            budget.readers.setdefault(self)
            budget.room.wait_for(lambda: self._may(count))
            budget.used += count
            self._bytes += count

    def settle(self, count: int) -> None:
        """The body is whole and has `count` bytes; what was taken beyond them is given back."""
        self._leave(count)

    def release(self) -> None:
        """Gives everything back; a second time does nothing."""
        self._leave(0)

    def _may(self, count: int) -> bool:
        budget = self._budget
        alone = budget.settled == 0 and next(iter(budget.readers)) is self
        return alone or budget.used + count <= budget.limit

    def _leave(self, keep: int) -> None:
        with self._budget.room:
            self._budget.used += keep - self._bytes
            self._budget.settled += keep - self._settled
            self._bytes = self._settled = keep
            self._budget.readers.pop(self, None)
            self._budget.room.notify_all()
