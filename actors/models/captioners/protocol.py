"""What every captioner answers, whichever library or machine it is of, and how one is named before it is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from actors.models.files import FoundModel
from actors.models.prepare import Pixels

FAILED = "caption_failed"
"""The reason of a picture that a captioner could not caption."""


@dataclass(frozen=True)
class Shown:
    """A decoded picture: its upright RGB `pixels` uint8 (h, w, 3), which show `height` x `width`, perhaps reduced."""

    image_id: int
    pixels: Pixels
    height: int
    width: int


@dataclass(frozen=True)
class Said:
    """A caption as the model wrote it, without the prompt.

    `language` is that of the prompt, null where it writes by itself; `sample` counts from 0, the greedy one; `tokens`
    are those that it wrote; not `ended`: it was cut at the most tokens.
    """

    raw: str
    language: str | None
    prompt: str
    sample: int
    tokens: int
    ended: bool


@dataclass(frozen=True)
class Unsaid:
    """Why a picture has no caption: a reason code, and for people what happened."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Asking:
    """What is asked of every picture: each of `prompts` (language, text), `samples` times.

    The first sample is greedy; the others are drawn out of the tokens that make up `top_p` at `temperature`, with a
    seed made of `seed`, the picture's id and the sample's number. `tokens` is the most that a caption may have, the
    mark of its end included.
    """

    prompts: tuple[tuple[str | None, str], ...]
    samples: int
    top_p: float
    temperature: float
    tokens: int
    seed: int


@dataclass(frozen=True)
class FoundCaptioner:
    """A captioner by its files or its address; plain values, safe to hand to actors.

    `place` is the weights' file or folder, or the endpoint. `identity`, 32 hex digits, is made of weights,
    architecture, preprocessing and tokenizer (of an endpoint: of the name that it serves), of all that is asked, and of
    the code: what has the same identity writes the same. `nbytes` are those of the weights' files, 0 at an endpoint.
    `files` are those that must be the same on every machine, each with its sha256. `model`: of open_clip's, where it
    is one; `served`: the name that an endpoint calls its model by.
    """

    name: str
    kind: Literal["coca", "image_to_text", "chat", "endpoint"]
    place: str
    identity: str
    asking: Asking
    nbytes: int
    files: tuple[tuple[str, str], ...] = ()
    model: FoundModel | None = None
    served: str | None = None

    @property
    def languages(self) -> tuple[str, ...]:
        """Those of its prompts; none: it writes by itself."""
        return tuple(language for language, _ in self.asking.prompts if language is not None)

    @property
    def answers(self) -> bool:
        """Whether it can be asked questions about a picture."""
        return self.kind in ("chat", "endpoint")


class LoadedCaptioner(Protocol):
    """A captioner, loaded once.

    `side`: pixels to which the shorter side of a picture may be reduced while it is decoded. `batch`: how many pictures
    it wants at once. `forwards`: pictures that the model was asked about so far.
    """

    identity: str
    device: str
    side: int
    batch: int
    forwards: int

    def caption(self, pictures: Sequence[Shown]) -> list[tuple[Said, ...] | Unsaid]:
        """For each picture all that was asked of it, by prompt and then by sample; a picture it fails on: why."""

    def answer(self, pictures: Sequence[Shown], questions: Sequence[str]) -> list[str]:
        """One answer for each picture and its question, greedy, "" where it failed; TypeError unless `answers`."""
