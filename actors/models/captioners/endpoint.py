"""An OpenAI-compatible endpoint as a captioner: pictures go as data URLs, several requests at once."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import simplejpeg

from actors.models.captioners.client import ChatClient, NotAnswered
from actors.models.captioners.protocol import FAILED, FoundCaptioner, Said, Shown, Unsaid
from actors.models.captioners.sizes import within

SIDE = 672
"""Pixels of the longer side of what is sent: more costs a server more tokens and says little more for a caption."""

_QUALITY = 90
_SHORT = 64  # tokens of an answer to a question, whatever a caption may have


class EndpointCaptioner:
    """Has captions written elsewhere; see `actors.models.captioners.protocol.LoadedCaptioner`.

    Its weights cannot be hashed: what it writes is named by the model's served name and all that is asked.
    """

    def __init__(self, found: FoundCaptioner, requests: int) -> None:
        """`requests` are in flight at a time."""
        self.identity, self.device, self._asking = found.identity, "endpoint", found.asking
        self.side, self.batch, self.forwards = SIDE, 4 * requests, 0
        self._client = ChatClient(found.place, str(found.served), requests)
        self._pool = ThreadPoolExecutor(requests, thread_name_prefix="caption")

    def caption(self, pictures: Sequence[Shown]) -> list[tuple[Said, ...] | Unsaid]:
        """All that is asked of each picture, by prompt and then by sample; EndpointGone where nobody answers."""
        self.forwards += len(pictures)
        asked = [
            [
                self._pool.submit(self._say, one, url, language, prompt, sample)
                for language, prompt in self._asking.prompts
                for sample in range(self._asking.samples)
            ]
            for one, url in zip(pictures, self._pool.map(data_url, pictures), strict=True)
        ]
        return [_all_said([future.result() for future in each]) for each in asked]

    def answer(self, pictures: Sequence[Shown], questions: Sequence[str]) -> list[str]:
        """One greedy answer for each picture and its question; "" where there is none."""
        self.forwards += len(pictures)
        return list(self._pool.map(self._reply, pictures, questions))

    def _say(self, picture: Shown, url: str, language: str | None, prompt: str, sample: int) -> Said | Unsaid:
        question = _question(url, prompt) | {"max_tokens": self._asking.tokens} | self._drawing(picture, sample)
        try:
            told = self._client.ask(question)
        except NotAnswered as fault:
            return Unsaid(FAILED, str(fault))
        return Said(told.text.strip(), language, prompt, sample, told.tokens, told.ended)

    def _reply(self, picture: Shown, question: str) -> str:
        greedy = {"max_tokens": _SHORT, "temperature": 0.0}
        try:
            return self._client.ask(_question(data_url(picture), question) | greedy).text.strip()
        except NotAnswered:
            return ""

    def _drawing(self, picture: Shown, sample: int) -> dict[str, float | int]:
        asking = self._asking
        if sample == 0:
            return {"temperature": 0.0, "seed": seed_of(asking.seed, picture.image_id, sample)}
        drawn = {"temperature": asking.temperature, "top_p": asking.top_p}
        return drawn | {"seed": seed_of(asking.seed, picture.image_id, sample)}


def seed_of(seed: int, image_id: int, sample: int) -> int:
    """31 bits that depend on nothing else: servers differ in how much more they take."""
    return int(np.random.default_rng((seed, image_id, sample)).integers(2**31))


def data_url(picture: Shown) -> str:
    """The picture as a JPEG of at most SIDE pixels on its longer side, within a URL."""
    jpeg = simplejpeg.encode_jpeg(within(picture.pixels, SIDE), quality=_QUALITY, colorspace="RGB")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _question(url: str, text: str) -> dict[str, Any]:
    picture = {"type": "image_url", "image_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": text}]}]}


def _all_said(said: list[Said | Unsaid]) -> tuple[Said, ...] | Unsaid:
    """All captions of a picture, or the first reason why one is missing: a part of them would look like all."""
    for one in said:
        if isinstance(one, Unsaid):
            return one
    return tuple(one for one in said if isinstance(one, Said))
