"""Sockets that know when the whole request must be over, not only the next read."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from actors.web.addresses import Endpoint
from actors.web.failure import FetchFailure

MOST_ADDRESSES = 3  # of one host that are tried


class Deadline:
    """The moment at which an attempt is over, however busily the other side drips."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, more than 0. Raises TimeoutError when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        return left

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that we spend on ourselves (robots.txt, room for bytes) is not held against the other side."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._at += time.monotonic() - start

    def failure(self) -> FetchFailure:
        """What to raise when it has passed; not transient: each further try would cost as long again."""
        return FetchFailure("fetch_timeout", f"not over after {self.seconds:g} s")


class PlainSocket(socket.socket):
    """A socket whose reads, all together, end at the deadline."""

    deadline: Deadline | None = None

    def recv_into(self, *args: Any, **named: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.left())
        return super().recv_into(*args, **named)


class TlsSocket(ssl.SSLSocket):
    """The same for TLS; the ssl module makes it from a plain one."""

    deadline: Deadline | None = None

    def recv_into(self, *args: Any, **named: Any) -> int:
        if self.deadline is not None:
            self.settimeout(self.deadline.left())
        return super().recv_into(*args, **named)


def tls_context() -> ssl.SSLContext:
    """Certificates and host names are verified, against the system's authorities."""
    context = ssl.create_default_context()
    context.sslsocket_class = TlsSocket
    return context


def dial(endpoints: list[Endpoint], connect_s: float, deadline: Deadline) -> PlainSocket:
    """A connection to the first endpoint that answers. Raises FetchFailure: fetch_connect, fetch_timeout."""
    failure = FetchFailure("fetch_connect", "no address")
    for endpoint in endpoints[:MOST_ADDRESSES]:
        wait_s = min(connect_s, deadline.left())
        try:
            sock = connect(endpoint, wait_s)
        except TimeoutError:
            transient = wait_s == connect_s
            failure = FetchFailure("fetch_timeout", f"no connection after {wait_s:g} s", transient=transient)
        except OSError as err:
            name = errno.errorcode.get(err.errno or 0, type(err).__name__)
            failure = FetchFailure("fetch_connect", name, transient=err.errno != errno.ECONNREFUSED)
        else:
            sock.deadline = deadline
            return sock
    raise failure


def connect(endpoint: Endpoint, timeout: float) -> PlainSocket:
    """One connection; everything that leaves this process for the web leaves through here."""
    sock = PlainSocket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        sock.connect(endpoint.address)
        # on loopback the kernel may pick the very port that we ask for as our own, and we would talk to
        # ourselves
        if sock.getsockname() == sock.getpeername():
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connected to itself")
    except BaseException:
        sock.close()
        raise
    return sock
