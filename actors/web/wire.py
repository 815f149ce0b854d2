"""HTTP exchanges by libcurl, all of an actor's on one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import certifi
import pycurl

from actors.web import sockets
from actors.web.budget import Hold
from actors.web.deadline import Deadline
from actors.web.failure import FetchFailure
from actors.web.target import Target

Headers = dict[str, list[str]]
"""By name in lower case, every value as it came, read as Latin-1."""

IDLE = 64  # connections kept for the next request to the same place
STEP = 1 << 20  # bytes of a body for which room is taken at a time
MOST_HEADERS = 200  # lines; libcurl bounds their bytes (300 kB)

_TLS = frozenset({pycurl.E_SSL_CONNECT_ERROR, pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CIPHER, pycurl.E_SSL_ISSUER_ERROR})
_BROKEN = frozenset({pycurl.E_GOT_NOTHING, pycurl.E_RECV_ERROR, pycurl.E_SEND_ERROR})


@dataclass(frozen=True)
class Ask:
    """One request: where to, at which of the addresses that were checked, and what of the answer is wanted.

    `judge` is shown status and headers before any of the body is read. It says how many bytes of the body are
    wanted, 0 for none, or raises FetchFailure. A body that is longer fails, unless `cut` says that its start is
    enough. `hold` is where room for the body comes from; None: it needs none.
    """

    target: Target
    addresses: Sequence[str]
    connect_s: float
    deadline: Deadline
    judge: Callable[[int, Headers], int]
    hold: Hold | None = None
    cut: bool = False


@dataclass(frozen=True)
class Reply:
    """An answer as far as it was wanted."""

    status: int
    headers: Headers
    body: bytes


@dataclass
class _Exchange:
    """The state of one request; its methods are libcurl's callbacks, in which nothing may be raised."""

    ask: Ask
    done: asyncio.Future[Reply]
    status: int = 0
    headers: Headers = field(default_factory=dict)
    lines: int = 0
    last: str = ""
    judged: bool = False
    wanted: int = 0
    chunks: list[bytes] = field(default_factory=list)
    have: int = 0
    room: int = 0
    enough: bool = False  # all that was wanted is there: what libcurl says of the rest is no failure
    failure: Exception | None = None
    paused_at: float | None = None

    @property
    def length(self) -> int | None:
        """How long the body will be, by its header; libcurl has refused what contradicts itself."""
        said = self.headers.get("content-length")
        chunked = "transfer-encoding" in self.headers
        return int(said[-1]) if said and not chunked and said[-1].isdecimal() else None

    def open(self, _purpose: int, address: Any) -> int:
        """A socket to an address that was checked, and to no other."""
        family, peer = address[0], address[3]
        try:
            if peer[0] not in self.ask.addresses:
                raise FetchFailure("fetch_forbidden_address", f"{peer[0]} was not checked")
            return sockets.open_socket(family, tuple(peer))
        except OSError as err:
            self.failure = connect_failure(err.errno or 0)
        except Exception as err:
            self.failure = err
        return int(pycurl.SOCKET_BAD)

    def connected(self, there: str, here: str, port: int, own_port: int) -> int:
        """On loopback the kernel may pick the very port that we ask for as our own, and we would talk to ourselves."""
        if (there, port) != (here, own_port):
            return int(pycurl.PREREQFUNC_OK)
        self.failure = connect_failure(errno.ECONNREFUSED)
        return int(pycurl.PREREQFUNC_ABORT)

    def header(self, line: bytes) -> int | None:
        try:
            return self._header(line.decode("latin-1"))
        except Exception as err:
            self.failure = err
            return -1

    def _header(self, line: str) -> int | None:
        if self.judged:
            return None  # of a trailer
        if line.startswith("HTTP/"):
            self.status, self.headers = int(line.split()[1]), {}
        elif line.strip("\r\n"):
            self._field(line)
        elif self.status >= 200:  # before it come answers that only say that one is on its way
            return self._judge()
        return None

    def _field(self, line: str) -> None:
        self.lines += 1
        if self.lines > MOST_HEADERS:
            raise FetchFailure("fetch_failed", f"more than {MOST_HEADERS} lines of headers")
        name, colon, value = line.partition(":")
        if line[0] in " \t" and self.last:
            self.headers[self.last][-1] += " " + line.strip()
        elif colon:
            self.last = name.strip().lower()
            self.headers.setdefault(self.last, []).append(value.strip())

    def _judge(self) -> int | None:
        self.judged = True
        self.wanted = self.ask.judge(self.status, self.headers)
        self.enough = self.wanted == 0
        length = self.length
        if not self.enough and not self.ask.cut and length is not None and length > self.wanted:
            raise FetchFailure("fetch_too_large", f"{length} bytes announced, over {self.wanted} bytes")
        return -1 if self.enough else None

    def body(self, chunk: bytes) -> int | None:
        try:
            return self._body(chunk)
        except Exception as err:
            self.failure = err
            return -1

    def _body(self, chunk: bytes) -> int | None:
        have = self.have + len(chunk)
        if have > self.wanted:
            if not self.ask.cut:
                raise FetchFailure("fetch_too_large", f"over {self.wanted} bytes")
            self.chunks.append(chunk[: self.wanted - self.have])
            self.enough = True
            return -1
        if self.ask.hold is not None and have > self.room and not self._room(self.ask.hold, have):
            self.paused_at = time.monotonic()
            return int(pycurl.WRITEFUNC_PAUSE)
        self.chunks.append(chunk)
        self.have = have
        return None

    def _room(self, hold: Hold, have: int) -> bool:
        """Taken step by step: a promise of many bytes that then drips must not keep others out."""
        length = self.length
        expected = STEP if length is None else length - self.room
        count = max(have - self.room, min(STEP, expected))
        if hold.take(count, self.resume):
            self.room += count
            return True
        return False

    def resume(self) -> None:
        """On the loop, when there may be room; set by the handle that this exchange runs on."""

    def end(self, failure: Exception | None) -> None:
        if self.done.done():
            return
        found = self.failure or (None if self.enough else failure)
        if found is not None:
            self.done.set_exception(found)
        else:
            self.done.set_result(Reply(self.status, self.headers, b"".join(self.chunks)))
        self.chunks = []


class Wire:
    """Sends requests from one event loop, each with `headers` (lines). To be made and used on that loop."""

    def __init__(self, headers: Sequence[str]) -> None:
        self._headers = list(headers)
        self._loop = asyncio.get_running_loop()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._arm)
        self._multi.setopt(pycurl.M_MAXCONNECTS, IDLE)
        self._timer: asyncio.Handle | None = None
        self._watched: dict[int, int] = {}
        self._running = 0
        self._spare: list[Any] = []
        self._busy: dict[Any, _Exchange] = {}

    async def exchange(self, ask: Ask) -> Reply:
        """The answer to one request. Raises FetchFailure."""
        ask.deadline.left()
        curl = self._spare.pop() if self._spare else self._curl()
        exchange = _Exchange(ask, self._loop.create_future())
        exchange.resume = lambda: self._resume(curl, exchange)  # type: ignore[method-assign]
        self._prepare(curl, exchange)
        timer = self._expire_later(exchange)
        self._busy[curl] = exchange
        self._multi.add_handle(curl)
        try:
            return await exchange.done
        finally:
            timer[0].cancel()
            del self._busy[curl]
            self._multi.remove_handle(curl)
            del exchange.done  # the spare handle remembers the exchange, which must not remember the body
            self._running = len(self._busy)
            self._spare.append(curl)

    def _curl(self) -> Any:
        """A handle with what is the same for all requests."""
        curl = pycurl.Curl()
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.HTTPHEADER, self._headers)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(pycurl.PROXY, "")  # none, whatever the environment says: it would dial for us, unchecked
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PATH_AS_IS, 1)  # what was checked against robots.txt is what is asked for
        curl.setopt(pycurl.SSL_VERIFYPEER, 1)
        curl.setopt(pycurl.SSL_VERIFYHOST, 2)
        curl.setopt(pycurl.CAINFO, authorities())
        curl.setopt(pycurl.BUFFERSIZE, 128 << 10)
        return curl

    def _prepare(self, curl: Any, exchange: _Exchange) -> None:
        ask = exchange.ask
        target = ask.target
        curl.setopt(pycurl.URL, target.url)
        # the addresses that were checked are all that this host has; "+": libcurl forgets them with time
        shown = ",".join(f"[{ip}]" if ":" in ip else ip for ip in ask.addresses)
        curl.setopt(pycurl.RESOLVE, [] if target.host in ask.addresses else [f"+{target.host}:{target.port}:{shown}"])
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, int(1000 * min(ask.connect_s, ask.deadline.left()))))
        curl.setopt(pycurl.OPENSOCKETFUNCTION, exchange.open)
        curl.setopt(pycurl.PREREQFUNCTION, exchange.connected)
        curl.setopt(pycurl.HEADERFUNCTION, exchange.header)
        curl.setopt(pycurl.WRITEFUNCTION, exchange.body)

    def _expire_later(self, exchange: _Exchange) -> list[asyncio.Handle]:
        """A timer in a list, for it is renewed where the deadline has moved meanwhile."""
        deadline = exchange.ask.deadline

        def expire() -> None:
            if exchange.paused_at is not None:
                timer[0] = self._loop.call_later(1.0, expire)
            elif deadline.at > self._loop.time():
                timer[0] = self._loop.call_at(deadline.at, expire)
            else:
                exchange.end(deadline.failure())

        timer: list[asyncio.Handle] = [self._loop.call_at(deadline.at, expire)]
        return timer

    def _resume(self, curl: Any, exchange: _Exchange) -> None:
        if self._busy.get(curl) is not exchange or exchange.paused_at is None:
            return
        exchange.ask.deadline.at += time.monotonic() - exchange.paused_at
        exchange.paused_at = None
        with contextlib.suppress(pycurl.error):  # what goes wrong then is told at the end of the exchange
            curl.pause(pycurl.PAUSE_CONT)

    def _watch(self, event: int, fd: int, _multi: object, _data: object) -> None:
        before = self._watched.pop(fd, 0)
        now = 0 if event == pycurl.POLL_REMOVE else event
        if now & pycurl.POLL_IN and not before & pycurl.POLL_IN:
            self._loop.add_reader(fd, self._act, fd, pycurl.CSELECT_IN)
        if now & pycurl.POLL_OUT and not before & pycurl.POLL_OUT:
            self._loop.add_writer(fd, self._act, fd, pycurl.CSELECT_OUT)
        if before & pycurl.POLL_IN and not now & pycurl.POLL_IN:
            self._loop.remove_reader(fd)
        if before & pycurl.POLL_OUT and not now & pycurl.POLL_OUT:
            self._loop.remove_writer(fd)
        if now:
            self._watched[fd] = now

    def _arm(self, wait_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait_ms == 0:
            self._timer = self._loop.call_soon(self._act, pycurl.SOCKET_TIMEOUT, 0)
        elif wait_ms > 0:
            self._timer = self._loop.call_later(wait_ms / 1000, self._act, pycurl.SOCKET_TIMEOUT, 0)

    def _act(self, fd: int, event: int) -> None:
        _, running = self._multi.socket_action(fd, event)
        if running < len(self._busy):
            self._collect()

    def _collect(self) -> None:
        left = 1
        while left:
            left, whole, failed = self._multi.info_read()
            for curl in whole:
                self._busy[curl].end(None)
            for curl, code, said in failed:
                self._busy[curl].end(_failure(curl, code, said, self._busy[curl]))


def authorities() -> str:
    """The file of the system's certificate authorities, or else Mozilla's."""
    return ssl.get_default_verify_paths().cafile or certifi.where()


def connect_failure(number: int) -> FetchFailure:
    """Why there is no connection; who refused it is there, and will refuse it again in a moment."""
    name = errno.errorcode.get(number, "no connection")
    return FetchFailure("fetch_connect", name, transient=number != errno.ECONNREFUSED, later=True)


def _failure(curl: Any, code: int, said: str, exchange: _Exchange) -> FetchFailure:
    """What went wrong on the wire; libcurl's own words are not kept, for they may hold a URL."""
    if code == pycurl.E_COULDNT_CONNECT:
        return connect_failure(curl.getinfo(pycurl.OS_ERRNO))
    if code == pycurl.E_OPERATION_TIMEDOUT:  # the deadline has a timer of ours: this is the connection's
        return FetchFailure("fetch_timeout", f"no connection after {exchange.ask.connect_s:g} s", transient=True)
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        return FetchFailure("fetch_tls", said.partition(": ")[2] or "certificate not valid")
    if code in _TLS:
        return FetchFailure("fetch_tls", "no secure connection")
    if code == pycurl.E_PARTIAL_FILE:
        whole = f" of {exchange.length}" if exchange.length is not None else ""
        return FetchFailure("fetch_incomplete", f"{exchange.have}{whole} bytes", transient=True)
    if code in _BROKEN:
        return FetchFailure("fetch_incomplete", f"connection broken after {exchange.have} bytes", transient=True)
    return FetchFailure("fetch_failed", f"not HTTP: libcurl's error {code}")
