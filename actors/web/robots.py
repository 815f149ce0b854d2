"""What robots.txt allows us (RFC 9309), asked once per scheme, host and port."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from actors.web.failure import FetchFailure, printable
from actors.web.target import Target

KEEP_S = 24 * 3600.0  # RFC 9309 2.4: not longer than a day
MOST_BYTES = 500 << 10  # RFC 9309 2.5: at least 500 kibibytes are read; the rest is left
STEP = 1 << 16  # bytes that are unpacked at a time


EOL = re.compile(rb"\r\n|\r|\n")
LINE = re.compile(rb"\s*(user-agent|allow|disallow)\s*:([^#]*)", re.IGNORECASE)
# RFC 9309 2.2.1: a product token is of these; what follows it (a version) is not part of it
TOKEN = re.compile(rb"[a-z_-]+(?![a-z0-9_-])|\*(?!\S)", re.IGNORECASE)
ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
CODINGS = {"": 0, "identity": 0, "gzip": 31, "x-gzip": 31, "deflate": 47}  # zlib's wbits


@dataclass(frozen=True, slots=True)
class Rule:
    """One allow or disallow line.

    `pieces` are the decoded octets between its `*`; `anchored` says that it ends in `$`; `octets` is how long it is,
    in its encoded form.
    """

    allow: bool
    octets: int
    pieces: tuple[bytes, ...]
    anchored: bool

    def matches(self, path: bytes) -> bool:
        """Whether the rule speaks of a path (decoded octets, query included): a prefix, unless it is anchored."""
        first, *others = self.pieces
        if not path.startswith(first):
            return False
        at = len(first)
        last = others.pop() if others and self.anchored else None
        for piece in others:  # the leftmost place of each piece leaves the most room for the next
            found = path.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        if last is not None:
            return len(path) - len(last) >= at and path.endswith(last)
        return at == len(path) or not self.anchored


@dataclass(frozen=True)
class Rules:
    """The rules of one site; `found` says where they come from, for the evidence.

    `groups` holds, by product token in lower case (`*`: everybody else), the groups that name it.
    """

    groups: dict[str, list[list[Rule]]]
    found: str
    _known: dict[str, list[Rule]] = field(default_factory=dict, compare=False, repr=False)

    def allows(self, target: Target, token: str) -> bool:
        """Whether the agent of that product token may ask for a target."""
        path = unquote_to_bytes(target.path)
        return next((rule.allow for rule in self._of(token.lower()) if rule.matches(path)), True)

    def _of(self, token: str) -> list[Rule]:
        """The rules for an agent, those that decide first in front: the longest, of equal ones the allowing."""
        known = self._known.get(token)
        if known is None:
            groups = self.groups.get(token, self.groups.get("*", []))
            known = sorted(
                (rule for group in groups for rule in group), key=lambda rule: (-rule.octets, not rule.allow)
            )
            self._known[token] = known
        return known


def read_rules(body: bytes, content_encoding: str = "") -> Rules:
    """The rules in a robots.txt, of which the first 500 KiB count; what cannot be read is no rule.

    A body that was sent packed, although we ask for none, is unpacked.
    """
    plain = _unpacked(body, content_encoding.strip().lower())
    if plain is None:
        return Rules({}, printable(f"robots.txt unreadable, content-encoding {content_encoding}"))
    return Rules(_grouped(_lines(plain)), "robots.txt read")


def excuse(failure: FetchFailure) -> Rules:
    """The rules where robots.txt was not got: none. Raises FetchFailure where that is no excuse."""
    return Rules({}, _excuse(failure))


def _unpacked(body: bytes, coding: str) -> bytes | None:
    """At most 500 KiB of what was packed, as far as it can be unpacked; None where nobody knows the coding."""
    if coding not in CODINGS:
        return None
    if not CODINGS[coding]:
        return body[:MOST_BYTES]
    for bits in (CODINGS[coding], -15):  # some servers send deflate without its frame
        unpacker = zlib.decompressobj(bits)
        plain = b""
        try:
            for start in range(0, len(body), STEP):
                plain += unpacker.decompress(body[start : start + STEP], MOST_BYTES - len(plain))
                if len(plain) == MOST_BYTES:
                    break
        except zlib.error:
            pass  # what came before the fault counts
        if plain:
            return plain if unpacker.eof else plain[: plain.rfind(b"\n") + 1]  # not half a line
    return b""


def _lines(body: bytes) -> Iterator[tuple[str, bytes]]:
    """The lines that mean something, as keys in lower case and values; a line that the limit cut is dropped."""
    lines = EOL.split(body.removeprefix(b"\xef\xbb\xbf"))
    for line in lines[:-1] if len(body) >= MOST_BYTES else lines:
        found = LINE.match(line)
        if found:
            yield found[1].decode().lower(), found[2].strip()


def _grouped(lines: Iterator[tuple[str, bytes]]) -> dict[str, list[list[Rule]]]:
    """The groups by the tokens that they name; a group may be without rules, and then allows everything."""
    groups: dict[str, list[list[Rule]]] = {}
    group: list[Rule] = []
    opening = False
    for key, value in lines:
        if key == "user-agent":
            if not opening:
                group = []
            opening = True
            named = TOKEN.match(value)
            if named:
                groups.setdefault(named[0].decode().lower(), []).append(group)
            continue
        opening = False
        if value:  # an empty path is no rule
            group.append(_rule(key == "allow", value))
    return groups


def _rule(allow: bool, value: bytes) -> Rule:
    """RFC 9309 2.2.2 and 2.2.3: `*` and `$` are special as they stand, and letters when they are encoded."""
    text = quote(value, safe=PRINTABLE)
    pieces = tuple(unquote_to_bytes(piece) for piece in text.removesuffix("$").split("*"))
    octets = len(text) - 2 * sum(chr(int(code, 16)) in UNRESERVED for code in ENCODED.findall(text))
    return Rule(allow, octets, pieces, text.endswith("$"))


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
        raise FetchFailure(
            "fetch_robots", detail, transient=failure.transient, later=failure.later, wait_s=failure.wait_s
        )
    return f"robots.txt {failure.detail}"
