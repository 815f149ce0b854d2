"""How hard one host is asked: so many requests at once, and so many begun in a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST_HOSTS = 20_000  # that are remembered; beyond it those are forgotten whom nobody asks


class _Host:
    def __init__(self, at_once: int) -> None:
        self.slots = asyncio.Semaphore(at_once)
        self.users = 0
        self.next_at = 0.0


class Pace:
    """Turns at hosts, for one event loop; `rate` is requests a second."""

    def __init__(self, at_once: int, rate: float) -> None:
        self._at_once, self._gap_s = at_once, 1 / rate
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def turn(self, host: str, *, rated: bool) -> AsyncIterator[None]:
        """Waits for a turn and holds it; `rated` says that the rate counts for this host too."""
        entry = self._entry(host)
        entry.users += 1
        try:
            async with entry.slots:
                if rated:
                    now = time.monotonic()
                    start = max(now, entry.next_at)
                    entry.next_at = start + self._gap_s
                    if start > now:
                        await asyncio.sleep(start - now)
                yield
        finally:
            entry.users -= 1

    def _entry(self, host: str) -> _Host:
        if host not in self._hosts:
            if len(self._hosts) >= MOST_HOSTS:
                now = time.monotonic()
                self._hosts = {key: one for key, one in self._hosts.items() if one.users or one.next_at > now}
            self._hosts[host] = _Host(self._at_once)
        return self._hosts[host]
