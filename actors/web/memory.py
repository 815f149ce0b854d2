"""Answers remembered for a while: one asks, the others that want the same wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from actors.web.failure import FetchFailure

K = TypeVar("K")
V = TypeVar("V")

# A transient failure is forgotten before the first retry, which then asks again; once for all who wait
TRANSIENT_S = 0.4
FAILED_S = 300.0


class Memory(Generic[K, V]):
    """Remembers what `ask` answered, or how it failed, for `keep_s` seconds and at most `most` keys.

    For one event loop.
    """

    def __init__(self, ask: Callable[[K], Awaitable[V]], keep_s: float, most: int = 20_000) -> None:
        self._ask, self._keep_s, self._most = ask, keep_s, most
        self._known: dict[K, tuple[float, V | FetchFailure]] = {}
        self._asking: dict[K, asyncio.Future[V | FetchFailure]] = {}

    async def __call__(self, key: K) -> V:
        """The answer for `key`. Raises FetchFailure as `ask` does, and for as long as that is remembered."""
        until, answer = self._known.get(key, (0.0, None))
        if answer is None or until <= time.monotonic():
            answer = await asyncio.shield(self._asking.get(key) or self._refresh(key))
        if isinstance(answer, FetchFailure):
            raise answer.again()
        return answer

    def _refresh(self, key: K) -> asyncio.Future[V | FetchFailure]:
        """A task of its own, and shielded: whoever asked first may be cancelled, those who wait with it are not."""
        asking = asyncio.ensure_future(self._answer(key))
        self._asking[key] = asking
        asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return asking

    async def _answer(self, key: K) -> V | FetchFailure:
        keep_s = self._keep_s
        answer: V | FetchFailure
        try:
            answer = await self._ask(key)
        except FetchFailure as failure:
            answer = failure
            keep_s = TRANSIENT_S if failure.transient else min(FAILED_S, self._keep_s)
        if len(self._known) >= self._most:
            self._known.pop(next(iter(self._known)))
        self._known[key] = (time.monotonic() + keep_s, answer)
        return answer
