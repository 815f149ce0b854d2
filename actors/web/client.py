"""One URL asked once: every redirect by hand, every hop checked, the body capped and whole."""

from __future__ import annotations

import email.utils
import errno
import http.client
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPResponse
from typing import Protocol

from actors.web.addresses import AddressBook
from actors.web.budget import Hold
from actors.web.failure import FetchFailure
from actors.web.sockets import Deadline, TlsSocket, dial, tls_context
from actors.web.target import Target, onward
from filters.recipe import Fetch

REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRANSIENT_STATUS = frozenset({408, 425, 429})  # and 5xx
STEP = 1 << 20  # bytes of a body for which room is taken at a time


class Gate(Protocol):
    """Who may be asked, and whose answer may be taken; both raise FetchFailure to say no."""

    def before(self, target: Target) -> None: ...

    def after(self, headers: Message) -> None: ...


@dataclass(frozen=True)
class Answer:
    """A 200 whose body has not been read."""

    target: Target
    response: HTTPResponse


class Client:
    """Asks as the policy says: agent, limits, blocked hosts."""

    def __init__(self, policy: Fetch, book: AddressBook) -> None:
        self.policy, self._book, self._tls = policy, book, tls_context()
        contact = f" (+{policy.contact})" if policy.contact else ""
        self._headers = {
            "User-Agent": policy.agent + contact,
            "Accept": "image/*,*/*;q=0.5",
            "Accept-Encoding": "identity",
            "Connection": "close",
        }

    @contextmanager
    def answer(self, target: Target, gate: Gate, deadline: Deadline) -> Iterator[Answer]:
        """The 200 at the end of the redirects. Raises FetchFailure for everything else."""
        seen: set[Target] = set()
        for _ in range(self.policy.max_redirects + 1):
            with self._hop(target, gate, deadline) as response:
                place = response.headers.get("Location") if response.status in REDIRECTS else None
                if place is None:
                    _check_status(response)
                    yield Answer(target, response)
                    return
                seen.add(target)
                target = onward(target, place)
                if target in seen:
                    raise FetchFailure("fetch_redirects", f"in a circle, after {len(seen)}")
        raise FetchFailure("fetch_redirects", f"more than {self.policy.max_redirects} redirects")

    @contextmanager
    def _hop(self, target: Target, gate: Gate, deadline: Deadline) -> Iterator[HTTPResponse]:
        """One answer, of any status, from an address that was checked."""
        self._check_host(target.host)
        with deadline.paused():
            endpoints = self._book.endpoints(target)
            gate.before(target)
        with _told(deadline):
            connection = http.client.HTTPConnection(target.host, target.port)
            sock = dial(endpoints, self.policy.connect_s, deadline)
            connection.sock = sock  # connected already, so http.client never dials
            try:
                if target.scheme == "https":
                    sock.settimeout(deadline.left())
                    wrapped = self._tls.wrap_socket(sock, server_hostname=target.host)
                    assert isinstance(wrapped, TlsSocket)
                    wrapped.deadline = deadline
                    connection.sock = wrapped
                with self._ask(connection, target) as response:
                    gate.after(response.headers)
                    yield response
            finally:
                connection.close()

    def _ask(self, connection: http.client.HTTPConnection, target: Target) -> HTTPResponse:
        connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", target.authority)
        for name, value in self._headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def _check_host(self, host: str) -> None:
        """A redirect may lead where no row of the log may; those were turned away before."""
        for blocked in self.policy.blocked_hosts:
            if host == blocked.lower() or host.endswith("." + blocked.lower()):
                raise FetchFailure("fetch_forbidden_address", f"{host} is on the list of blocked hosts")


def read_whole(response: HTTPResponse, cap: int, hold: Hold, deadline: Deadline) -> bytes:
    """The body, of at most `cap` bytes and as long as it said. Raises FetchFailure."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise FetchFailure("fetch_failed", f"content-encoding {coding}, asked for identity")
    length = response.length
    if length is not None and length > cap:
        raise FetchFailure("fetch_too_large", f"{length} bytes announced, over {cap} bytes")
    body = _read(response, length, cap, hold, deadline)
    if length is not None and len(body) < length:
        raise FetchFailure("fetch_incomplete", f"{len(body)} of {length} bytes", transient=True)
    hold.settle(len(body))
    return body


def _read(response: HTTPResponse, length: int | None, cap: int, hold: Hold, deadline: Deadline) -> bytes:
    """Room is taken step by step: a promise of many bytes that then drips must not keep others out."""
    if length is not None and length <= STEP:
        with deadline.paused():
            hold.take(length)
        return response.read(length)
    body = bytearray()
    while True:
        with deadline.paused():
            hold.take(STEP)
        part = response.read(min(STEP, cap + 1 - len(body)))
        if not part:
            return bytes(body)
        body += part
        if len(body) > cap:
            raise FetchFailure("fetch_too_large", f"over {cap} bytes")


def read_start(response: HTTPResponse, most: int) -> bytes:
    """The first `most` bytes of the body."""
    return response.read(most)


def _check_status(response: HTTPResponse) -> None:
    status = response.status
    if status != 200:
        transient = status in TRANSIENT_STATUS or status >= 500
        wait_s = _retry_after(response.headers.get("Retry-After", "")) if transient else None
        raise FetchFailure("fetch_http_status", str(status), transient=transient, wait_s=wait_s)


def _retry_after(value: str) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; None where it says nothing."""
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


@contextmanager
def _told(deadline: Deadline) -> Iterator[None]:
    """What goes wrong on the wire, as a FetchFailure. After connecting, every timeout is the deadline."""
    try:
        yield
    except TimeoutError:
        raise deadline.failure() from None
    except ssl.SSLCertVerificationError as err:
        raise FetchFailure("fetch_tls", err.verify_message) from None
    except ssl.SSLError as err:
        raise FetchFailure("fetch_tls", err.reason or type(err).__name__) from None
    except (http.client.RemoteDisconnected, http.client.IncompleteRead) as err:
        raise FetchFailure("fetch_incomplete", type(err).__name__, transient=True) from None
    except OSError as err:
        name = errno.errorcode.get(err.errno or 0, type(err).__name__)
        raise FetchFailure("fetch_incomplete", name, transient=True) from None
    except (http.client.HTTPException, UnicodeError, ValueError) as err:
        raise FetchFailure("fetch_failed", f"not HTTP: {type(err).__name__}") from None
