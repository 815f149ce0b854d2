"""What a URL itself says: whether it is one, its host, and whether that host is blocked."""

import re
from typing import Literal
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_HOST_AND_PORT = re.compile(r"\d{1,5}(?:[/?#]|$)")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\"<>\\^`{|}%]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def url_fault(url: str | None) -> tuple[str, str] | None:
    """Reason code and detail of a URL that nobody could ask for, or None.

    A URL of another scheme than http and https is sound here: the fetch stage refuses it by name.
    """
    if url is None or not url.strip():
        return "malformed_row", "no url"
    problem = _problem(url.strip())
    return ("malformed_url", f"{problem}: {url.strip()[:200]!r}") if problem else None


def host_of(url: str | None) -> str | None:
    """The host of a URL in lower case, in its ASCII form and without a final dot; None where it has none."""
    try:
        host = urlsplit((url or "").strip()).hostname
    except ValueError:
        return None
    return _ascii(host) if host else None


class BlockedHost(BaseModel):
    """Turns away the URLs of the given hosts and of all hosts under them; the batch has a column `url`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[str, ...]

    @property
    def reason(self) -> Literal["blocked_host"]:
        """The reason code."""
        return "blocked_host"

    def rejects(self, batch: pa.RecordBatch) -> pa.StringArray:
        """Null where the row may stay, else the host and the entry that blocks it."""
        blocked = {_ascii(host.strip().lower().removeprefix("*.").strip(".")) for host in self.hosts} - {""}
        urls = batch.column("url")
        if not blocked:
            return pa.nulls(len(urls), pa.string())
        return pa.array([_blocked(host_of(url), blocked) for url in urls.to_pylist()], pa.string())


def _problem(url: str) -> str | None:
    if _CONTROL.search(url):
        return "control character in the URL"
    parts = _SCHEME.match(url)
    if parts is None:
        return "not an absolute URL"
    scheme, rest = parts[1].lower(), parts[2]
    if scheme not in ("http", "https"):  # "example.com:80/a.jpg" has a host and no scheme
        lost = not rest.startswith("//") and ("." in scheme or bool(_HOST_AND_PORT.match(rest)))
        return "not an absolute URL" if lost or not rest else None
    return _authority_problem(url)


def _authority_problem(url: str) -> str | None:
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port
    except ValueError as error:
        return str(error)
    if not host:
        return "no host"
    if port == 0:
        return "port 0"
    if _FORBIDDEN.search(host):
        return "a character that no host has"
    labels = [] if ":" in host else _ascii(host).split(".")  # with a colon it is an IPv6 address in brackets
    return "not a host name" if any(not 0 < len(label) < 64 for label in labels) else None


def _ascii(host: str) -> str:
    host = host.removesuffix(".")
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _blocked(host: str | None, blocked: set[str]) -> str | None:
    labels = (host or "").split(".")
    for start in range(len(labels)):
        entry = ".".join(labels[start:])
        if entry in blocked:
            return f"host {host}; blocked: {entry}"
    return None
