"""One URL asked once: every redirect by hand, every hop checked, the body capped and whole."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from actors.web import sockets
from actors.web.addresses import blocked, check_contact
from actors.web.budget import Hold
from actors.web.deadline import Deadline
from actors.web.failure import FetchFailure
from actors.web.names import Names
from actors.web.outage import Line
from actors.web.pace import Pace
from actors.web.target import Target, onward
from actors.web.wire import Ask, Headers, Reply, Wire
from filters.recipe import Fetch

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REFUSALS = 100_000  # that an actor remembers; the journals of parts remember all
TRANSIENT_STATUS = frozenset({408, 425, 429})  # and 5xx


class Gate(Protocol):
    """Who may be asked, and whose answer may be taken; both raise FetchFailure to say no."""

    async def before(self, target: Target) -> None: ...

    def after(self, headers: Headers) -> None: ...


class WasDown(Exception):
    """The uplink was down while this was asked, and is up again: ask anew."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of an answer: at most `most` bytes; `cut` says that a longer body's start will do.

    Room for the body comes from `hold`, where there is one.
    """

    most: int
    hold: Hold | None = None
    cut: bool = False


class Client:
    """Asks as the policy says (agent, limits, blocked places), on one event loop."""

    def __init__(self, policy: Fetch, names: Names, pace: Pace) -> None:
        self.policy, self._names, self._pace = policy, names, pace
        contact = f" (+{policy.contact})" if policy.contact else ""
        self._wire = Wire(
            [f"User-Agent: {policy.agent}{contact}", "Accept: image/*,*/*;q=0.5", "Accept-Encoding: identity"]
        )
        self._refused: dict[Target, FetchFailure] = {}
        self._uplink: Line[Target] = Line("The uplink", self._answers, policy.outage_wait_s)

    async def get(self, target: Target, gate: Gate, deadline: Deadline, wish: Wish) -> tuple[Target, Reply]:
        """The 200 at the end of the redirects, and where that was.

        Raises FetchFailure for everything else, WasDown, Outage.
        """
        seen: set[Target] = set()
        for _ in range(self.policy.max_redirects + 1):
            reply = await self._hop(target, gate, deadline, wish)
            if reply.status not in REDIRECTS:
                return target, reply
            seen.add(target)
            target = onward(target, reply.headers["location"][0])
            if target in seen:
                raise FetchFailure("fetch_redirects", f"in a circle, after {len(seen)}")
        raise FetchFailure("fetch_redirects", f"more than {self.policy.max_redirects} redirects")

    async def _hop(self, target: Target, gate: Gate, deadline: Deadline, wish: Wish) -> Reply:
        """One answer, a 200 or a redirect, from an address that was checked."""
        book = self._names.book
        exempt = book.exempt(target)
        why = blocked(target, self.policy, exempt=exempt)
        if why:
            raise FetchFailure("fetch_forbidden_address", why)
        if target in self._refused:
            raise self._refused[target].again()

        def judge(status: int, headers: Headers) -> int:
            self._heed(target, gate, headers)
            if status in REDIRECTS and "location" in headers:
                return 0
            _check_status(status, headers)
            if not wish.cut:
                _check_coding(headers)
            return wish.most

        async with AsyncExitStack() as turn:
            with deadline.paused():
                addresses = await self._names.addresses(target)
                check_contact(target, self.policy, exempt=exempt)
                await gate.before(target)
                place = target.authority if exempt else target.host
                await turn.enter_async_context(self._pace.turn(place, rated=not exempt))
            ask = Ask(target, addresses, self.policy.connect_s, deadline, judge, wish.hold, wish.cut)
            return await (self._wire.exchange(ask) if exempt else self._over_uplink(ask))

    def _heed(self, target: Target, gate: Gate, headers: Headers) -> None:
        """Who refuses is not asked again, also where another URL leads there."""
        try:
            gate.after(headers)
        except FetchFailure as failure:
            if len(self._refused) < MOST_REFUSALS:
                self._refused[target] = failure.again()
            raise

    async def _over_uplink(self, ask: Ask) -> Reply:
        """An exchange with the outside, whose failure is believed only where the uplink is up."""
        peer = replace(ask.target, path="/")
        since = time.monotonic()
        self._uplink.pending += 1
        try:
            reply = await self._wire.exchange(ask)
            self._uplink.heard(peer)
            return reply
        except FetchFailure as failure:
            silent = failure.reason in ("fetch_connect", "fetch_timeout") and failure.detail != "ECONNREFUSED"
            if not silent:
                self._uplink.heard(peer)
                raise
            self._uplink.pending -= 1
            try:
                own = await self._uplink.believe(peer, since)
            finally:
                self._uplink.pending += 1
            if own:
                raise
            raise WasDown from None
        finally:
            self._uplink.pending -= 1

    def vouch(self, target: Target) -> None:
        """A place that answered in an earlier run."""
        self._names.vouch(target)
        if not self._names.book.exempt(target):
            self._uplink.vouch(replace(target, path="/"))

    async def _answers(self, peer: Target) -> bool:
        """Whether a connection can be made to somebody who answered before; nothing is asked."""
        try:
            address = (await self._names.addresses(peer))[0]
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(fileno=sockets.open_socket(family, (address, peer.port))) as sock:
                sock.setblocking(False)
                connecting = asyncio.get_running_loop().sock_connect(sock, (address, peer.port))
                await asyncio.wait_for(connecting, self.policy.connect_s)
        except ConnectionRefusedError:
            return True
        except (FetchFailure, OSError):
            return False
        return True


def _check_status(status: int, headers: Headers) -> None:
    if status != 200:
        transient = status in TRANSIENT_STATUS or status >= 500
        wait_s = _retry_after(headers.get("retry-after", [""])[0]) if transient else None
        raise FetchFailure("fetch_http_status", str(status), transient=transient, wait_s=wait_s)


def _check_coding(headers: Headers) -> None:
    for coding in headers.get("content-encoding", ()):
        if coding.lower() not in ("", "identity"):
            raise FetchFailure("fetch_failed", f"content-encoding {coding}, asked for identity")


def _retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; None where it says nothing."""
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    with contextlib.suppress(ValueError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None
