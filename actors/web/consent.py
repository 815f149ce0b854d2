"""What the headers of an answer say about being taken for training."""

from __future__ import annotations

import re
from email.message import Message

from actors.web.failure import FetchFailure, printable

# Part of the evidence kept with each row: raise it when the rules below change
POLICY = "consent policy 1"
REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Directives with a value, after which a colon does not name an agent
VALUED = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
AGENT = re.compile(r"(\*|[a-z][a-z0-9_.\-]*)(/.*)?")


def check_headers(headers: Message, token: str) -> str:
    """The evidence that nothing refuses us. Raises FetchFailure fetch_opted_out, with its own evidence.

    `token` is our product token in lower case. Reads X-Robots-Tag and tdm-reservation (W3C TDMRep).
    """
    for value in headers.get_all("X-Robots-Tag", []):
        word = refusal(str(value), token)
        if word:
            raise _opted_out(f"x-robots-tag {word}", f"X-Robots-Tag: {value}")
    for value in headers.get_all("tdm-reservation", []):
        if str(value).split(";")[0].strip() == "1":
            raise _opted_out("tdm-reservation 1", f"tdm-reservation: {value}")
    return "no opt-out header"


def refusal(value: str, token: str) -> str | None:
    """The word in one X-Robots-Tag value that refuses us, else None.

    A part `agent: directive` opens the scope of that agent for the rest of the value; a part that cannot be
    read that way speaks to everybody.
    """
    scope = "*"
    for part in value.lower().split(","):
        *names, directive = (piece.strip() for piece in part.split(":"))
        for name in names:
            if name in VALUED:
                directive = ""
                break
            agent = AGENT.fullmatch(name)
            scope = agent[1] if agent else "*"
        words = REFUSALS.intersection(re.split(r"[\s;]+", directive))
        if words and scope in ("*", token):
            return min(words)
    return None


def _opted_out(detail: str, header: str) -> FetchFailure:
    return FetchFailure("fetch_opted_out", detail, consent=printable(f"{POLICY}; {header}"))
