"""What a URL asks of whom: scheme, host, port and a request line that is safe to send."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urlsplit

from actors.web.failure import FetchFailure
from filters.blocked import WEB_PORTS as PORTS
from filters.blocked import without_dots

# RFC 3986 reserved characters, and % because what is quoted already stays as it is
SAFE = "%/:=&?~+!$,;'@()*[]"
# The WHATWG rule for a host that means an IPv4 address: its last label is a number, in any notation
NUMERIC = re.compile(r"(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)$")
HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
BLANK = "".join(map(chr, range(0x21)))  # what WHATWG's URL standard cuts off at both ends, as urlsplit does,
UNSEEN = re.compile(r"[\t\r\n]")  # and what it takes out
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no octets stand for
LONGEST_LOCATION = 8192
LONGEST_HOST = 253  # RFC 1035 2.3.4


@dataclass(frozen=True)
class Target:
    """One request to one place, all of it printable ASCII.

    `path` starts with a slash, has no dot segments and holds the query: what is asked for is what was checked,
    whatever the HTTP library would make of `/a/../b`.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as a Host header has them: an IPv6 address in brackets, no default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def url(self) -> str:
        return self.origin + self.path


def parse(url: str | None) -> Target:
    """The target of a URL. Raises FetchFailure where nobody may be asked for it."""
    return _read((url or "").strip())


def onward(target: Target, location: str) -> Target:
    """The target that a redirect from `target` names; `location` is the header's octets read as Latin-1.

    Octets that are not UTF-8 are asked for as they came (sites that were never converted). Raises FetchFailure.
    """
    if len(location) > LONGEST_LOCATION:
        raise FetchFailure(
            "fetch_redirects", f"to an address of {len(location)} characters, at most {LONGEST_LOCATION}"
        )
    octets = location.encode("latin-1", "replace")
    try:
        place = octets.decode("utf-8")
    except UnicodeDecodeError:
        place = "".join(chr(octet) if octet < 0x80 else f"%{octet:02X}" for octet in octets)
    return _read(_joined(target, UNSEEN.sub("", place.strip(BLANK))))


def _read(url: str) -> Target:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise FetchFailure("fetch_failed", "not an absolute address with a host and a port") from None
    if parts.scheme and parts.scheme not in PORTS:
        raise FetchFailure("fetch_bad_scheme", f"{parts.scheme}, only http and https")
    if not parts.scheme or not host:
        raise FetchFailure("fetch_failed", "not an absolute address with a host")
    if parts.username is not None or parts.password is not None:
        raise FetchFailure("fetch_forbidden_address", "the address carries credentials")
    if port == 0:
        raise FetchFailure("fetch_failed", "port 0, from 1")
    bracketed = parts.netloc.startswith("[")
    return Target(parts.scheme, _host(host, bracketed), port or PORTS[parts.scheme], _path(parts))


def _joined(base: Target, place: str) -> str:
    """A reference as RFC 3986 5.2.2 resolves it; `urljoin` would drop empty segments of it, and an empty host."""
    scheme = SCHEME.match(place)
    if scheme and scheme[1].lower() != base.scheme:
        return place
    place = place[scheme.end() :] if scheme else place
    if place.startswith("//"):
        return f"{base.scheme}:{place}"
    path, mark, query = place.partition("#")[0].partition("?")
    base_path, base_mark, base_query = base.path.partition("?")
    if not path:
        path = base_path
        mark, query = (mark, query) if mark else (base_mark, base_query)
    elif not path.startswith("/"):
        path = base_path[: base_path.rindex("/") + 1] + path
    return f"{base.origin}{path}{mark}{query}"


@lru_cache(maxsize=4096)  # hosts come again and again
def _host(host: str, bracketed: bool) -> str:
    """Lower case, IDNA, and of numbers only in the one notation that nobody reads in two ways."""
    if len(host) > LONGEST_HOST:
        raise FetchFailure("fetch_failed", f"a host of {len(host)} characters, at most {LONGEST_HOST}")
    try:
        if bracketed:
            return str(IPv6Address(host if "%" not in host else ""))  # a zone is for the inside
        name = host.encode("idna").decode("ascii").lower().rstrip(".")
        if NUMERIC.search(name):  # after IDNA, which makes digits of \uff11 and \u2460
            return str(IPv4Address(name))
    except AddressValueError:
        raise FetchFailure("fetch_forbidden_address", f"{host} is not a plain IP address") from None
    except UnicodeError:
        raise FetchFailure("fetch_failed", "not a host name") from None
    if not HOST.fullmatch(name):
        raise FetchFailure("fetch_failed", "not a host name")
    return name


def _path(parts: SplitResult) -> str:
    path, query = (quote(SURROGATE.sub("\ufffd", part), SAFE) for part in (parts.path, parts.query))
    return without_dots(path if path.startswith("/") else "/" + path) + ("?" + query if query else "")
