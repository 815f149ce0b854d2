"""The section `captions` of a recipe: who writes captions of pictures, and what a caption must hold to stay."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from filters.section import LanguageCode, Name, Section, Weights


class Captioner(Weights):
    """A model that writes captions: local weights, or an OpenAI-compatible endpoint that serves `model`."""

    name: Name = Field(default="captioner", description="the role of its texts is caption:NAME")
    endpoint: str | None = Field(default=None, description="base URL, such as http://10.0.0.7:8000/v1")
    model: str | None = Field(default=None, description="the name under which the endpoint serves it")
    prompts: dict[LanguageCode, str] = Field(
        default={}, description="what it is asked, a language each; empty: it writes by itself"
    )
    samples: int = Field(default=1, ge=1, le=64, description="per picture and prompt; the first is greedy")
    top_p: float = Field(default=0.9, gt=0, le=1, description="of the other samples; BLIP and LAION-COCO draw so")
    temperature: float = Field(default=1.0, gt=0, description="of the other samples")
    tokens: int = Field(default=30, ge=2, le=4096, description="most tokens of a caption")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_place(self) -> Captioner:
        self.check_places(self.endpoint)
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("an `endpoint` needs the `model` that it serves, and only an endpoint has one")
        if any(not prompt.strip() for prompt in self.prompts.values()):
            raise ValueError("a prompt is empty: say what is asked, or leave the language out")
        return self

    @field_validator("endpoint")
    @classmethod
    def _plain(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        if not re.match(r"https?://[^/]", endpoint):
            raise ValueError("an endpoint is a URL: http://HOST:PORT/v1")
        parts = urlsplit(endpoint)
        try:
            parts.port  # noqa: B018 - it is read to be checked
        except ValueError:
            raise ValueError("an endpoint's port is a number: http://HOST:PORT/v1") from None
        if parts.username or parts.password or parts.query:
            raise ValueError("an endpoint's URL has no credentials; its key is read from ZEROMILL_CAPTION_KEY")
        return endpoint.rstrip("/")


class Agreement(Section):
    """The picture and its caption by a model of the recipe, another than the one that ranks samples."""

    model: Name = Field(description="of `models`")
    min_score: float | None = Field(default=None, ge=-1, le=1, description="least cosine")
    below_native: float | None = Field(
        default=None, ge=0, le=2, description="by how much less than the best text of people; LAION-COCO ranks likewise"
    )

    @model_validator(mode="after")
    def _asks(self) -> Agreement:
        if self.min_score is None and self.below_native is None:
            raise ValueError("agreement asks nothing: give min_score, below_native, or both")
        return self


class Objects(Section):
    """Objects that a caption names must be seen on its picture (CHAIR's question, by zero-shot tags)."""

    model: Name | None = Field(default=None, description="of `models`, which compares; null: the first")
    min_presence: float = Field(
        default=0.9, ge=0, le=1, description="of each object named; at 0.5 it is as near as the average one"
    )


class Polling(Section):
    """A model that answers questions is asked about each object that a caption names (POPE)."""

    captioner: Name = Field(description="of `captioners`; one that takes prompts")


class CaptionChecks(Section):
    """What a caption must hold; what is null is not asked."""

    repetition: float | None = Field(default=0.3, gt=0, le=1, description="largest share of repeated n-grams")
    openings: str | None = Field(
        default="common", description="list of boiler-plate openings: a shipped one, or a file"
    )
    length: int | None = Field(default=100, ge=1, description="most words, and characters of scripts without spaces")
    cut: bool = Field(default=False, description="whether captions may stay that were cut at the most tokens")
    vocabulary: str = Field(
        default="coco", description="of objects that captions are read for: a shipped list, or a TSV file"
    )
    agreement: Agreement | None = None
    objects: Objects | None = None
    polling: Polling | None = None


class Captions(Section):
    """Captions of the pictures that every cheaper stage has left; they join the texts of people, and replace none."""

    captioners: tuple[Captioner, ...] = Field(min_length=1)
    checks: CaptionChecks = CaptionChecks()
    keep: int | None = Field(
        default=None, ge=1, description="of a captioner's samples, the best by the first model; null: all that pass"
    )
    weight: float = Field(default=1.0, gt=0, le=1, description="of a caption's pair in a release, where others have 1")

    @model_validator(mode="after")
    def _told_apart(self) -> Captions:
        names = [one.name for one in self.captioners]
        if len(set(names)) < len(names):
            raise ValueError(f"two captioners are named {max(names, key=names.count)}: give each a `name` of its own")
        if self.checks.polling is not None and self.checks.polling.captioner not in names:
            raise ValueError(f"checks.polling.captioner is none of the captioners ({', '.join(names)})")
        return self
