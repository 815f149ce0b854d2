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
        self._back_at = 0.0  # the end of the last time that it was down
        self._gave_up: Outage | None = None
        self._witnesses: dict[W, None] = {}  # the newest last
        self._strangers: dict[W, None] = {}
        self._doubt = asyncio.Lock()
        self.pending = 0

    def heard(self, witness: W) -> None:
        """Somebody answered over this line."""
        self._heard_at = time.monotonic()
        self._gave_up = None
        self._strangers.clear()
        self.vouch(witness)

    def vouch(self, witness: W) -> None:
        """Somebody would answer: in an earlier run they did."""
        self._witnesses.pop(witness, None)
        self._witnesses[witness] = None
        if len(self._witnesses) > WITNESSES:
            self._witnesses.pop(next(iter(self._witnesses)))

    async def believe(self, failed: W, since: float) -> bool:
        """Whether a failure of `failed`, asked at `since` (monotonic seconds), is its own.

        False says that the line was down and is up again: ask anew. Raises Outage where it stays down.
        """
        if self._fresh(since):
            return self._back_at < since
        if not self._witnesses:
            self._strangers[failed] = None
        async with self._doubt:  # one asks for all
            if self._fresh(since):
                return self._back_at < since
            if self._gave_up is not None:
                raise Outage(str(self._gave_up))
            if not self._witnesses and not await self._crowd(since):
                return True
            return await self._up()

    def _fresh(self, since: float) -> bool:
        """Whether somebody answered since then, and just now: an answer before the line went down says nothing."""
        return self._heard_at > max(since, time.monotonic() - PROBE_S)

    async def _crowd(self, since: float) -> bool:
        """Whether so many strangers fail, and nobody answers, that the line must be down."""
        end = time.monotonic() + EVIDENCE_S
        while len(self._strangers) < STRANGERS and self.pending and time.monotonic() < end:
            await asyncio.sleep(0.2)
            if self._heard_at > since:
                return False
        return len(self._strangers) >= STRANGERS

    async def _up(self) -> bool:
        """Whether the line was up all the time; waits while it is down."""
        end = time.monotonic() + self._wait_s
        was_down = False
        while not await self._probe():
            was_down = True
            if time.monotonic() > end:
                self._gave_up = Outage(f"{self._name} is down: nobody answered for {self._wait_s:g} s.")
                raise self._gave_up
            await asyncio.sleep(min(PROBE_S, self._wait_s))
        if was_down:
            self._back_at = time.monotonic()
        return not was_down

    async def _probe(self) -> bool:
        for witness in reversed(list(self._witnesses or self._strangers)):
            if await self._ask(witness):
                self.heard(witness)
                return True
        return False
