"""What robots.txt allows us (RFC 9309), asked once per scheme, host and port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from protego import Protego

from actors.web.failure import FetchFailure
from actors.web.memory import Memory
from actors.web.target import Target

KEEP_S = 24 * 3600.0  # RFC 9309 2.4: not longer than a day
MOST_BYTES = 500 << 10  # RFC 9309 2.5: at least 500 kibibytes are read; the rest is left


@dataclass(frozen=True)
class Rules:
    """The rules of one site; `found` says where they come from, for the evidence."""

    rules: Protego
    found: str


class Robots:
    """Answers for our product token `token`; `read` gets the robots.txt at an address, guarded."""

    def __init__(self, token: str, read: Callable[[Target], bytes]) -> None:
        self._token, self._read = token, read
        self._sites: Memory[Target, Rules] = Memory(self._load, KEEP_S)

    def check(self, target: Target) -> str:
        """The evidence that a target may be asked for.

        Raises FetchFailure: fetch_robots where it may not be, and, where robots.txt itself was lost to the
        network, the reason of that.
        """
        site = Target(target.scheme, target.host, target.port, "/robots.txt")
        try:
            rules = self._sites(site)
        except FetchFailure as failure:
            raise failure.again("robots.txt") from None
        if not rules.rules.can_fetch(target.url, self._token):
            raise FetchFailure("fetch_robots", f"robots.txt disallows it for {self._token}", consent=rules.found)
        return rules.found

    def _load(self, site: Target) -> Rules:
        try:
            text = self._read(site).decode("utf-8-sig", "replace")
        except FetchFailure as failure:
            return Rules(Protego.parse(""), _excuse(failure))
        return Rules(Protego.parse(text), "robots.txt read")


def _excuse(failure: FetchFailure) -> str:
    """Why a robots.txt that was not got forbids nothing. Raises FetchFailure where that is no excuse.

    RFC 9309 2.3.1: 4xx and too many redirects mean that there are no rules, 5xx that nothing is allowed; 429
    is about the moment, as 5xx is.
    """
    if failure.reason == "fetch_redirects":
        return "robots.txt redirects for ever"
    if failure.reason != "fetch_http_status":
        raise failure
    if failure.transient or failure.detail.startswith("5"):
        detail = f"answered {failure.detail}"
        raise FetchFailure("fetch_robots", detail, transient=failure.transient, wait_s=failure.wait_s)
    return f"robots.txt {failure.detail}"
