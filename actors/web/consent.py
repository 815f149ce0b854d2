"""What the headers of an answer say about being taken for training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from actors.web.failure import FetchFailure, printable

# Part of the evidence kept with each row: raise it when the rules below, or those of robots.txt, change
POLICY = "consent policy 2"
REFUSALS = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Directives with a value, before whose colon stands no agent
VALUED = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
AGENT = re.compile(r"(\*|[a-z_][a-z0-9_.-]*)(?:/.*)?", re.ASCII | re.DOTALL)
BREAKS = re.compile(r"[\s;\"']+")


def check_headers(headers: Mapping[str, Sequence[str]], token: str) -> str:
    """The evidence that nothing refuses us. Raises FetchFailure fetch_opted_out, with its own evidence.

    `headers` by name in lower case, every value as it came; `token` is our product token in lower case. Reads
    X-Robots-Tag and tdm-reservation (W3C TDMRep).
    """
    for value in headers.get("x-robots-tag", ()):
        word = refusal(value, token)
        if word:
            raise _opted_out(f"x-robots-tag {word}", f"X-Robots-Tag: {value}")
    for value in headers.get("tdm-reservation", ()):
        if any(item.split(";")[0].strip(" \t\"'") == "1" for item in value.split(",")):
            raise _opted_out("tdm-reservation 1", f"tdm-reservation: {value}")
    return "no opt-out header"


def refusal(value: str, token: str) -> str | None:
    """The word in one X-Robots-Tag value that refuses us, else None.

    A value is a list of parts between commas. A name and a colon before a part open the scope of that agent for the
    rest of the value; a directive that has a value says nothing about us; what is neither (the second half of a date)
    changes nothing.
    """
    scope = "*"
    for part in value.lower().split(","):
        *names, words = part.split(":")
        for name in map(str.strip, names):
            if name in VALUED:
                words = ""
                break
            if name in REFUSALS:  # "noai: true"
                words = name
                break
            agent = AGENT.fullmatch(name)
            scope = agent[1] if agent else scope
        found = REFUSALS.intersection(BREAKS.split(words))
        if found and scope in ("*", token):
            return min(found)
    return None


def _opted_out(detail: str, header: str) -> FetchFailure:
    return FetchFailure("fetch_opted_out", detail, consent=printable(f"{POLICY}; {header}"))
