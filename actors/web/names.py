"""Which checked addresses a host has: looked up in threads, remembered, and never for longer than a bound."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import ip_address

from actors.web.addresses import AddressBook, Lookup, resolve
from actors.web.failure import FetchFailure
from actors.web.memory import Memory
from actors.web.outage import Line
from actors.web.target import Target

KEEP_S = 300.0
LOOKUP_S = 20.0  # two tries of 5 s at two servers are what resolv.conf asks for by default
AT_ONCE = 32  # a name server that never answers holds a thread for LOOKUP_S


class Names:
    """Resolves for one event loop. `outage_s` is how long a dead resolver is waited for."""

    def __init__(self, book: AddressBook, outage_s: float, lookup: Lookup) -> None:
        self.book, self._lookup = book, lookup
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="names")
        self._probe = ThreadPoolExecutor(1, thread_name_prefix="probe")  # which must not wait behind them
        self._known: Memory[str, tuple[str, ...]] = Memory(self._resolve, KEEP_S)
        self._line: Line[str] = Line("The resolver", self._answers, outage_s)

    async def addresses(self, target: Target) -> tuple[str, ...]:
        """The addresses of a target, all of them checked.

        Raises FetchFailure: fetch_dns, fetch_forbidden_address; Outage where the resolver is down.
        """
        found = (target.host,) if _numeric(target.host) else await self._known(target.host)
        self.book.check(target, found)
        return found

    def vouch(self, target: Target) -> None:
        """A host that had an address in an earlier run."""
        if not _numeric(target.host):
            self._line.vouch(target.host)

    async def _resolve(self, host: str) -> tuple[str, ...]:
        while True:
            since = time.monotonic()
            self._line.pending += 1
            try:
                found = await self._look_up(host)
                self._line.heard(host)
                return found
            except FetchFailure as failure:
                if not await self._to_be_told(host, failure, since):
                    continue
                raise
            finally:
                self._line.pending -= 1

    async def _to_be_told(self, host: str, failure: FetchFailure, since: float) -> bool:
        """Whether a failure is the host's own."""
        if failure.later and not failure.transient:  # the resolver says that there is no such host
            self._line.heard(host)
        if not failure.transient:
            return True
        self._line.pending -= 1
        try:
            return await self._line.believe(host, since)
        finally:
            self._line.pending += 1

    async def _look_up(self, host: str, threads: ThreadPoolExecutor | None = None) -> tuple[str, ...]:
        asking = asyncio.get_running_loop().run_in_executor(threads or self._threads, resolve, host, self._lookup)
        try:
            return await asyncio.wait_for(asking, LOOKUP_S)
        except TimeoutError:
            detail = f"{host}: no answer in {LOOKUP_S:g} s"
            raise FetchFailure("fetch_dns", detail, transient=True) from None

    async def _answers(self, host: str) -> bool:
        """Whether the resolver says anything of a host: that there is none is an answer too."""
        try:
            await self._look_up(host, self._probe)
        except FetchFailure as failure:
            return not failure.transient
        return True


@lru_cache(maxsize=4096)
def _numeric(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
