"""Which places a list of URL prefixes shuts: `host/path` compared in one normal form, whatever the spelling."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes, urlsplit

_PREFIX = re.compile(r"https?://[!-~\u00a1-\uffff]+", re.IGNORECASE)
_DOT = re.compile(r"\.|%2e", re.IGNORECASE)

WEB_PORTS = {"http": 80, "https": 443}


def without_dots(path: str) -> str:
    """A path that starts with a slash, without its `.` and `..` segments, however they are written.

    RFC 3986 5.2.4; `%2e` is a dot too, as the WHATWG's URL standard has it.
    """
    if not _DOT.search(path):
        return path
    kept: list[str] = []
    first, *segments = path.split("/")
    for place, segment in enumerate(segments):
        dots = _DOT.sub(".", segment)
        if dots not in (".", ".."):
            kept.append(segment)
            continue
        if dots == ".." and kept:
            kept.pop()
        if place == len(segments) - 1:
            kept.append("")
    return "/".join([first, *kept])


class BlockedUrls:
    """The places under some URL prefixes, for http and https alike.

    A prefix shuts its host, without the hosts under it, at its port (at every port where it names none), and
    every path that begins with its own. Hosts are compared in lower case and in ASCII, paths octet by octet after
    percent-decoding and without dot segments: `HTTP://H.example/%61/../b` is `h.example/b`. Case counts in
    paths; a prefix ends anywhere, so that `/a` shuts `/ab` too, and `/a/` does not.
    """

    def __init__(self, prefixes: Iterable[str]) -> None:
        self._places: dict[str, list[tuple[int | None, bytes]]] = {}
        for prefix in prefixes:
            host, port, path = _place(prefix)
            self._places.setdefault(host, []).append((port, path))

    def shut(self, url: str | None) -> bool:
        """Whether a URL lies under one of the prefixes; False for what is no web address."""
        if not self._places or not url:
            return False
        try:
            parts = urlsplit(url.strip())
            host, port = ascii_host(parts.hostname or ""), parts.port or WEB_PORTS.get(parts.scheme)
        except ValueError:
            return False
        places = self._places.get(host, ())
        octets = _octets(parts.path, parts.query) if places and port else b""
        return any(at in (None, port) and octets.startswith(path) for at, path in places) if octets else False


def prefix_fault(prefix: str) -> str | None:
    """What is wrong with an entry of a list of prefixes; None for a sound one."""
    if not _PREFIX.fullmatch(prefix):
        return "begins with http:// or https:// and a host"
    try:
        parts = urlsplit(prefix)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "has no readable host and port"
    if not host or parts.username is not None:
        return "has a host and no credentials"
    return "has no fragment" if parts.fragment else None


def ascii_host(host: str) -> str:
    """A host in lower case, in its ASCII form where it has one, without a final dot."""
    host = host.lower().removesuffix(".")
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _place(prefix: str) -> tuple[str, int | None, bytes]:
    parts = urlsplit(prefix)
    return ascii_host(parts.hostname or ""), parts.port, _octets(parts.path, parts.query)


def _octets(path: str, query: str) -> bytes:
    path = without_dots(path or "/")
    return unquote_to_bytes(f"{path}?{query}" if query else path)
