"""Talks to an OpenAI-compatible server about pictures: asks again what may pass, and tells apart what will not."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from actors.models.files import ModelMissing

KEY = "ZEROMILL_CAPTION_KEY"
"""The variable of the environment that holds the server's key: no recipe, log or part ever does."""

WAITS_S = (0.5, 1.0, 2.0, 4.0)
"""Before each further try of a request that failed in a way that may pass."""

LONGEST_WAIT_S = 30.0  # whatever a server says in Retry-After
TIMEOUT_S = httpx.Timeout(120.0, connect=5.0)
PASSING = (408, 425, 429, 500, 502, 503, 504)
REFUSED = {
    401: f"Put its key into the environment as {KEY}, for every process of the run.",
    403: f"Put a key that may use it into the environment as {KEY}.",
    404: "See that the URL ends in /v1 or where else its API begins, and that it serves this model.",
    429: "Give it time or more machines, or ask it with fewer workers; then run again.",
}

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line a request says nothing that a part does not


class EndpointGone(ModelMissing):
    """The endpoint does not answer, refuses, or does not serve the model; the message says what to do."""


class NotAnswered(Exception):
    """The endpoint works, and this one request does not: status and what the server said, in a line."""


@dataclass(frozen=True)
class Answer:
    """What a server said: text, the tokens it counts, and whether it came to an end by itself."""

    text: str
    tokens: int
    ended: bool


class ChatClient:
    """One server and one model that it serves, safe to use in several threads at once.

    Only this server is talked to: proxies of the environment are not asked, and redirects not followed.
    """

    def __init__(self, endpoint: str, served: str, connections: int = 8) -> None:
        self.endpoint, self.served = endpoint, served
        self._key = os.environ.get(KEY, "")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=connections)
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT_S, limits=limits, trust_env=False)

    def __enter__(self) -> ChatClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def check(self) -> None:
        """EndpointGone unless the server lists the model."""
        told = self._body(self._request("GET", "models"))
        listed = told.get("data")
        names = [str(one.get("id")) for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if self.served not in names:
            serves = self._line(", ".join(names[:8])) or "nothing"
            raise EndpointGone(
                f"The endpoint {self.endpoint} serves {serves}, and not {self.served}.\n"
                "Start it with that model, or give the name that it serves as the captioner's `model`."
            )

    def ask(self, question: Mapping[str, Any]) -> Answer:
        """What the model says to `question`, fields of a chat completion; NotAnswered where it fails on this one."""
        reply = self._request("POST", "chat/completions", {"model": self.served, **question})
        told = self._body(reply)
        try:
            choice = told["choices"][0]
            text, usage = choice["message"]["content"], told.get("usage") or {}
        except (LookupError, TypeError) as error:
            raise NotAnswered(f"no answer in its reply: {self._line(reply.text)}") from error
        if not isinstance(text, str):
            raise NotAnswered(f"no text in its reply: {self._line(reply.text)}")
        return Answer(text, int(usage.get("completion_tokens") or 0), choice.get("finish_reason") != "length")

    def _request(self, method: str, path: str, content: dict[str, Any] | None = None) -> httpx.Response:
        """A reply of status 200; EndpointGone or NotAnswered where none came, after a few tries."""
        reply: httpx.Response | None = None
        fault = ""
        for wait in (*WAITS_S, None):
            try:
                reply = self._http.request(method, f"{self.endpoint}/{path}", json=content)
                fault = f"status {reply.status_code}: {self._line(reply.text)}"
            except httpx.HTTPError as error:
                reply, fault = None, self._line(f"{type(error).__name__}: {error}")
            if reply is not None and reply.status_code == 200:
                return reply
            if wait is None or (reply is not None and reply.status_code not in PASSING):
                break
            time.sleep(max(wait, _wished(reply)))
        raise self._given_up(method, None if reply is None else reply.status_code, fault)

    def _given_up(self, method: str, status: int | None, fault: str) -> Exception:
        """Whether it is the endpoint that does not work, or only this request."""
        if status in REFUSED or method == "GET" or not self._lives():
            hint = REFUSED.get(status or 0, "Start it, or correct the captioner's `endpoint`; then run again.")
            return EndpointGone(f"The endpoint {self.endpoint} does not caption: {fault}\n{hint}")
        return NotAnswered(fault)

    def _lives(self) -> bool:
        try:
            return self._http.get(f"{self.endpoint}/models").status_code == 200
        except httpx.HTTPError:
            return False

    def _body(self, reply: httpx.Response) -> dict[str, Any]:
        try:
            told = reply.json()
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise EndpointGone(
                f"The endpoint {self.endpoint} answers with no JSON object: {self._line(reply.text)}\n"
                "See that its URL is that of an OpenAI-compatible API, such as http://HOST:PORT/v1."
            )
        return told

    def _line(self, text: str) -> str:
        """What a server said, in a line and without the key, should it be in it."""
        line = " ".join(text.split())
        return (line.replace(self._key, "***") if self._key else line)[:200]


def _wished(reply: httpx.Response | None) -> float:
    """Seconds that a server asks to wait, of those that are sensible; dates are not read."""
    wished = reply.headers.get("Retry-After", "") if reply is not None else ""
    return min(float(wished), LONGEST_WAIT_S) if wished.isdecimal() else 0.0
