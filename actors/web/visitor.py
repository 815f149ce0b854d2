"""One URL from its first request to its fate: consent, attempts, retries."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime

from actors.web.budget import Budget, Hold
from actors.web.client import Client, WasDown, Wish
from actors.web.consent import POLICY, check_headers
from actors.web.deadline import Deadline
from actors.web.failure import ContactMissing, FetchFailure, printable
from actors.web.memory import Memory
from actors.web.names import Names
from actors.web.outage import Outage
from actors.web.pace import Pace
from actors.web.robots import KEEP_S, MOST_BYTES, Rules, excuse, read_rules
from actors.web.stores import Stores
from actors.web.target import Target, parse
from actors.web.wire import Headers
from filters.recipe import Fetch

LONGEST_WAIT_S = 10.0  # who asks us to wait longer is not asked again in this job
FIRST_WAIT_S = 1.0
STORE_READS = 4  # at once


@dataclass(frozen=True)
class Fate:
    """All that is kept of a visit but the bytes; `reason` is None where they came.

    `transient` says that another run may have more luck.
    """

    reason: str | None
    detail: str | None
    attempts: int
    sha256: str | None = None
    md5: str | None = None
    nbytes: int | None = None
    final_url: str | None = None
    content_type: str | None = None
    consent: str | None = None
    transient: bool = False
    fetched_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Open:
    """The gate of robots.txt itself, which everybody may read."""

    async def before(self, target: Target) -> None: ...

    def after(self, headers: Headers) -> None: ...


class Consent:
    """The gate of pictures; collects the evidence of one visit. `sites` and `token`: None where nobody is to ask."""

    def __init__(self, sites: Memory[Target, Rules] | None, token: str | None, agent: str) -> None:
        self._sites, self._token, self._agent = sites, token, agent
        self._asked = "robots.txt not asked"
        self._said = "headers not asked"

    async def before(self, target: Target) -> None:
        """Raises FetchFailure: fetch_robots, and, where robots.txt itself was lost to the network, that reason."""
        if self._sites is None:
            return
        try:
            rules = await self._sites(Target(target.scheme, target.host, target.port, "/robots.txt"))
        except FetchFailure as failure:
            raise failure.again("robots.txt") from None
        if not rules.allows(target, self._agent):
            raise FetchFailure("fetch_robots", f"robots.txt disallows it for {self._agent}", consent=rules.found)
        self._asked = rules.found

    def after(self, headers: Headers) -> None:
        if self._token is not None:
            self._said = check_headers(headers, self._token)

    def evidence(self) -> str:
        return f"{POLICY}; {self._asked}; {self._said}"


class Visitor:
    """Visits URLs for an actor, on one event loop."""

    def __init__(self, policy: Fetch, names: Names, pace: Pace, budget: Budget) -> None:
        self._policy, self._budget = policy, budget
        self._client = Client(policy, names, pace)
        self._store_turns = asyncio.Semaphore(STORE_READS)
        self._stores = Stores(policy.stores, policy.max_bytes)
        self._sites: Memory[Target, Rules] | None = Memory(self._read_robots, KEEP_S) if policy.robots else None

    def vouch(self, url: str) -> None:
        """A URL that brought a picture in an earlier run: its host tells a dead network from dead links."""
        with contextlib.suppress(FetchFailure):  # of a store
            self._client.vouch(parse(url))

    async def visit(self, url: str | None) -> tuple[Fate, bytes | None, Hold]:
        """What became of a URL, its bytes (not hashed yet), and their room until the caller releases it.

        Raises Outage and ContactMissing, which are no URL's own.
        """
        hold = self._budget.hold()
        attempt = 0
        while True:
            attempt += 1
            try:
                fate, body = await self._attempt(url, attempt, hold)
                return fate, body, hold
            except WasDown:
                hold.release()
                attempt -= 1
            except FetchFailure as failure:
                hold.release()
                wait_s = self._wait(failure, attempt)
                if wait_s is None:
                    return _failed(failure, attempt), None, hold
                await asyncio.sleep(wait_s)
            except (Outage, ContactMissing, asyncio.CancelledError):
                hold.release()
                raise
            except Exception as err:  # a fault of ours costs one row; its message may hold the URL
                hold.release()
                return Fate("fetch_failed", type(err).__name__, attempt), None, hold

    async def _attempt(self, url: str | None, attempt: int, hold: Hold) -> tuple[Fate, bytes]:
        if url is not None and self._stores.covers(url):
            body = await self._of_store(url, hold)
            return Fate(None, None, attempt, nbytes=len(body), consent=f"{POLICY}; from a store of the recipe"), body
        gate = Consent(self._sites, self._policy.token if self._policy.opt_out else None, self._policy.token)
        deadline = Deadline(self._policy.deadline_s)
        target, reply = await self._client.get(parse(url), gate, deadline, Wish(self._policy.max_bytes, hold))
        hold.settle(len(reply.body))
        kind = reply.headers.get("content-type")
        fate = Fate(
            None,
            None,
            attempt,
            nbytes=len(reply.body),
            final_url=target.url,
            content_type=printable(kind[-1]) if kind else None,
            consent=gate.evidence(),
        )
        return fate, reply.body

    async def _of_store(self, url: str, hold: Hold) -> bytes:
        """A few at a time, and on only when there is room: a disk is faster than what is done with its bytes."""
        async with self._store_turns:
            body = await asyncio.get_running_loop().run_in_executor(None, self._stores.read, url)
            room = asyncio.Event()
            while not hold.take(len(body), room.set):
                await room.wait()
                room.clear()
        hold.settle(len(body))
        return body

    def _wait(self, failure: FetchFailure, attempt: int) -> float | None:
        """Seconds until the next attempt, with jitter against retries in step; None where there is none."""
        if not failure.transient or attempt > self._policy.retries:
            return None
        if failure.wait_s is not None:
            return failure.wait_s if failure.wait_s <= LONGEST_WAIT_S else None
        return min(FIRST_WAIT_S * 2.0 ** (attempt - 1) * random.uniform(0.8, 1.2), LONGEST_WAIT_S)

    async def _read_robots(self, site: Target) -> Rules:
        try:
            deadline = Deadline(self._policy.deadline_s)
            _, reply = await self._client.get(site, Open(), deadline, Wish(MOST_BYTES, cut=True))
        except WasDown:
            return await self._read_robots(site)
        except FetchFailure as failure:
            return excuse(failure)
        return read_rules(reply.body, ",".join(reply.headers.get("content-encoding", ())))


def _failed(failure: FetchFailure, attempts: int) -> Fate:
    return Fate(failure.reason, failure.detail, attempts, consent=failure.consent, transient=failure.later)
