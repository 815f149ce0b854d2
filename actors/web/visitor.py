"""One URL from its first request to its fate: consent, attempts, retries."""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import Message

from actors.web.addresses import AddressBook
from actors.web.budget import Budget, Hold
from actors.web.client import Client, read_start, read_whole
from actors.web.consent import POLICY, check_headers
from actors.web.failure import FetchFailure, printable
from actors.web.robots import MOST_BYTES, Robots
from actors.web.sockets import Deadline
from actors.web.target import Target, parse
from filters.recipe import Fetch

LONGEST_WAIT_S = 10.0  # who asks us to wait longer is not asked again in this job
FIRST_WAIT_S = 1.0


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

    def before(self, target: Target) -> None: ...

    def after(self, headers: Message) -> None: ...


class Consent:
    """The gate of pictures; collects the evidence of one visit."""

    def __init__(self, robots: Robots | None, token: str | None) -> None:
        self._robots, self._token = robots, token
        self._asked = "robots.txt not asked"
        self._said = "headers not asked"

    def before(self, target: Target) -> None:
        if self._robots is not None:
            self._asked = self._robots.check(target)

    def after(self, headers: Message) -> None:
        if self._token is not None:
            said = {name.lower(): [str(value) for value in headers.get_all(name, [])] for name in headers}
            self._said = check_headers(said, self._token)

    def evidence(self) -> str:
        return f"{POLICY}; {self._asked}; {self._said}"


class Visitor:
    """Visits URLs for an actor; safe to be used by many threads."""

    def __init__(self, policy: Fetch, book: AddressBook, budget: Budget) -> None:
        self._policy, self._budget = policy, budget
        self._client = Client(policy, book)
        self._token = policy.agent.split("/")[0].strip().lower()
        self._robots = Robots(self._token, self._read_robots) if policy.robots else None

    def visit(self, url: str | None) -> tuple[Fate, bytes | None, Hold]:
        """What became of a URL, its bytes, and the room that they take until the caller releases it."""
        hold = self._budget.hold()
        attempt = 0
        while True:
            attempt += 1
            try:
                fate, body = self._attempt(url, attempt, hold)
                return fate, body, hold
            except FetchFailure as failure:
                hold.release()
                wait_s = self._wait(failure, attempt)
                if wait_s is None:
                    return _failed(failure, attempt), None, hold
            except Exception as err:  # a fault of ours costs one row; its message may hold the URL
                hold.release()
                return Fate("fetch_failed", type(err).__name__, attempt), None, hold
            time.sleep(wait_s)

    def _attempt(self, url: str | None, attempt: int, hold: Hold) -> tuple[Fate, bytes]:
        gate = Consent(self._robots, self._token if self._policy.opt_out else None)
        deadline = Deadline(self._policy.deadline_s)
        with self._client.answer(parse(url), gate, deadline) as answer:
            body = read_whole(answer.response, self._policy.max_bytes, hold, deadline)
        kind = answer.response.headers.get("Content-Type")
        fate = Fate(
            None,
            None,
            attempt,
            sha256=hashlib.sha256(body).hexdigest(),
            md5=hashlib.md5(body, usedforsecurity=False).hexdigest(),
            nbytes=len(body),
            final_url=answer.target.url,
            content_type=printable(kind) if kind else None,
            consent=gate.evidence(),
        )
        return fate, body

    def _wait(self, failure: FetchFailure, attempt: int) -> float | None:
        """Seconds until the next attempt, with jitter against retries in step; None where there is none."""
        if not failure.transient or attempt > self._policy.retries:
            return None
        if failure.wait_s is not None:
            return failure.wait_s if failure.wait_s <= LONGEST_WAIT_S else None
        return min(FIRST_WAIT_S * 2.0 ** (attempt - 1) * random.uniform(0.8, 1.2), LONGEST_WAIT_S)

    def _read_robots(self, target: Target) -> bytes:
        deadline = Deadline(self._policy.deadline_s)
        with self._client.answer(target, Open(), deadline) as answer:
            return read_start(answer.response, MOST_BYTES)


def _failed(failure: FetchFailure, attempts: int) -> Fate:
    return Fate(failure.reason, failure.detail, attempts, consent=failure.consent, transient=failure.transient)
