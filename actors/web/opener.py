"""The one way out of a fetching process: urllib's opener, which knows tickets and nothing else."""

from __future__ import annotations

import io
import itertools
import threading
import urllib.request
from email.message import Message
from typing import Protocol
from urllib.response import addinfourl

SCHEME = "ticket"


class Errand(Protocol):
    """A job whose rows are given out one by one."""

    def take(self, ticket: int) -> bytes:
        """The bytes that a ticket brings. Raises LookupError where it brings none."""


class Tickets(urllib.request.BaseHandler):
    """Turns `ticket:JOB/NUMBER` into bytes.

    img2dataset is handed tickets in the place of URLs, so that no URL, however broken, fails in urllib before
    the guard saw it, and what the guard found out goes to the job and not through an error message.
    Every other address is refused: no library in this process has another way to the network through urllib.
    """

    handler_order = 1  # before urllib's own

    def __init__(self) -> None:
        self._errands: dict[int, Errand] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def open_job(self, errand: Errand) -> int:
        with self._lock:
            number = next(self._numbers)
            self._errands[number] = errand
            return number

    def close_job(self, number: int) -> None:
        with self._lock:
            del self._errands[number]

    def default_open(self, request: urllib.request.Request) -> addinfourl:
        """Called by urllib first, whatever the scheme is."""
        job, number = read_ticket(request.full_url)
        body = self._errands[job].take(number)
        return addinfourl(io.BytesIO(body), Message(), request.full_url, 200)


def ticket(job: int, number: int) -> str:
    return f"{SCHEME}:{job}/{number}"


def read_ticket(address: str) -> tuple[int, int]:
    """Job and number of a ticket. Raises PermissionError for every other address."""
    scheme, _, rest = address.partition(":")
    if scheme != SCHEME:
        raise PermissionError(f"{scheme}: this process reaches the web only by fetch jobs")
    job, _, number = rest.partition("/")
    return int(job), int(number)


TICKETS = Tickets()


def install() -> None:
    """Makes TICKETS urllib's only handler in this process.

    A bare director: `build_opener` would bring proxies from the environment and handlers of file, ftp and
    data.
    """
    director = urllib.request.OpenerDirector()
    director.add_handler(TICKETS)
    urllib.request.install_opener(director)
