"""Why a URL gave no bytes, as one of the codes that the ledger knows."""

from __future__ import annotations

from typing import Literal, Self

Reason = Literal[
    "fetch_bad_scheme",
    "fetch_dns",
    "fetch_forbidden_address",
    "fetch_connect",
    "fetch_tls",
    "fetch_timeout",
    "fetch_redirects",
    "fetch_http_status",
    "fetch_opted_out",
    "fetch_robots",
    "fetch_too_large",
    "fetch_incomplete",
    "fetch_failed",
]

LONGEST_DETAIL = 200


class FetchFailure(Exception):
    """A URL that gave no bytes.

    `detail` holds the value and the bound that it broke. Nobody may put more of a URL into it than its host:
    URLs carry credentials. `transient` means that asking again soon may help, `later` that another run may have
    more luck; `wait_s` is how long the other side asked us to wait first; `consent` is the evidence of a refusal.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        transient: bool = False,
        later: bool = False,
        wait_s: float | None = None,
        consent: str | None = None,
    ) -> None:
        self.reason: Reason = reason
        self.detail = printable(detail)
        self.transient = transient
        self.later = later or transient
        self.wait_s = wait_s
        self.consent = consent
        super().__init__(f"{reason}: {self.detail}")

    def again(self, about: str = "") -> Self:
        """The same failure for another URL, told of `about`; a shared exception would collect tracebacks."""
        detail = f"{about}: {self.detail}" if about else self.detail
        return type(self)(
            self.reason,
            detail,
            transient=self.transient,
            later=self.later,
            wait_s=self.wait_s,
            consent=self.consent,
        )


class ContactMissing(Exception):
    """A host that is not on the allow list would be asked, and the recipe names nobody to whom it could turn."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        return (
            f"{self.host} would be asked without a contact: set fetch.contact in the recipe to a URL or e-mail "
            "address under which site owners reach you."
        )


def printable(text: str) -> str:
    """The text on one line of plain ASCII, for logs and tables, cut at 200 characters."""
    if text.isascii() and text.isprintable():
        return text[:LONGEST_DETAIL]
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(char if char.isprintable() else " " for char in plain)[:LONGEST_DETAIL]
