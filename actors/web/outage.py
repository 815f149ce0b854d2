"""A network that is down is not a host that is dead: before a failure is believed, a witness is heard."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

W = TypeVar("W")

WITNESSES = 3
"""Who answered last and would answer now, were it not for the network."""
STRANGERS = 3
"""So many different hosts that fail, and none that ever answered, are no accident."""
EVIDENCE_S = 30.0
"""How long a first failure waits for an answer from anywhere, while others are still being asked."""
PROBE_S = 2.0


class Outage(Exception):
    """The resolver or the uplink is down: nothing was marked failed; the message says why and what to do."""


class Line(Generic[W]):
    """One thing that everybody needs (the resolver, the uplink), and whether it is up.

    `ask` gets a witness and says whether it answers. `wait_s` is how long a dead line is waited for before
    Outage is raised; `name` stands in its message. For one event loop.
    """

    def __init__(self, name: str, ask: Callable[[W], Awaitable[bool]], wait_s: float) -> None:
        self._name, self._ask, self._wait_s = name, ask, wait_s
        self._heard_at = 0.0
        self._witnesses: dict[W, None] = {}  # the newest last
        self._strangers: dict[W, None] = {}
        self._doubt = asyncio.Lock()
        self.pending = 0

    def heard(self, witness: W) -> None:
        """Somebody answered over this line."""
        self._heard_at = time.monotonic()
        self._strangers.clear()
        self._witnesses.pop(witness, None)
        self._witnesses[witness] = None
        if len(self._witnesses) > WITNESSES:
            self._witnesses.pop(next(iter(self._witnesses)))

    async def believe(self, failed: W, since: float) -> bool:
        """Whether a failure of `failed`, asked at `since` (monotonic seconds), is its own.

        False says that the line was down and is up again: ask anew. Raises Outage where it stays down.
        """
        if self._heard_at > since:
            return True
        async with self._doubt:
            if self._heard_at > since:
                return True
            if not self._witnesses and not await self._crowd(failed, since):
                return True
            return await self._up(since)

    async def _crowd(self, failed: W, since: float) -> bool:
        """Whether so many strangers fail, and nobody answers, that the line must be down."""
        self._strangers[failed] = None
        end = time.monotonic() + EVIDENCE_S
        while len(self._strangers) < STRANGERS and self.pending and time.monotonic() < end:
            await asyncio.sleep(0.2)
            if self._heard_at > since:
                return False
        return len(self._strangers) >= STRANGERS

    async def _up(self, since: float) -> bool:
        """Whether the line was up all the time; waits while it is down."""
        end = time.monotonic() + self._wait_s
        was_down = False
        while self._heard_at <= since:
            for witness in reversed(list(self._witnesses or self._strangers)):
                if await self._ask(witness):
                    self.heard(witness)
                    return not was_down
            was_down = True
            if time.monotonic() > end:
                raise Outage(self._name)
            await asyncio.sleep(min(PROBE_S, self._wait_s))
        return not was_down
