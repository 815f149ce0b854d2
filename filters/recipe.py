"""A recipe as types: everything that determines a result, and nothing about how fast or where it runs."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from filters.blocked import prefix_fault
from filters.captioning import Captions
from filters.policies import Policy
from filters.section import LanguageCode, Name, Section, Weights

# How fast others are asked, and for how long they are waited for: it does not change what they say
PACE = frozenset({"per_host", "per_host_rate", "outage_wait_s"})

# RFC 9309 2.2.1: of letters, `_` and `-`; RFC 9110 10.1.5: product tokens with versions, a space between them
_AGENT = re.compile(
    r"[A-Za-z_-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?(?: [!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?)*"
)
# Without what would end a comment of the User-Agent header (RFC 9110 5.6.5)
_CONTACT = re.compile(r"https?://(?![/:])[!-'*-\[\]-~]+|(?:mailto:)?[!#-'*-?A-Z^-~]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_STORE = re.compile(r"[a-z][a-z0-9+.-]*://(?!.*(?:^|/)\.\.?(?:/|$))[^\s?#]*/")

Port = Annotated[int, Field(ge=1, le=65535)]
Role = Literal["query", "title", "surrounding", "alt"]


class RecipeError(ValueError):
    """A recipe that cannot be used; at most three lines: file, key and what is wrong, then what is allowed."""

    def __init__(self, key: str, problem: str, hint: str = "", file: str = "recipe") -> None:
        super().__init__(key, problem, hint, file)
        self.key, self.problem, self.hint, self.file = key, problem, hint, file

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        lines = [f"{where}: {_one_line(self.problem)}", _one_line(self.hint)]
        return "\n".join(line for line in lines if line)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:500]


class ClickThrough(Section):
    """Which rows people's clicks speak for; without click columns in the log nothing is judged."""

    min_impressions: int = Field(default=10, ge=0)
    min_rate: float = Field(default=0.01, ge=0, le=1)
    prior_clicks: float = Field(default=1, ge=0, description="Beta prior: clicks seen before the first one")
    prior_skips: float = Field(default=99, ge=0, description="Beta prior: impressions without a click")
    top_k: int | None = Field(default=None, ge=1, description="rows kept per query, by smoothed rate")


class NearTexts(Section):
    """Which long texts count as one: those that share most of their character 5-grams."""

    similarity: float = Field(default=0.8, ge=0.5, le=1, description="least Jaccard similarity of their 5-grams")
    characters: int = Field(default=60, ge=20, description="of the shorter text; shorter ones are one when equal")


class Texts(Section):
    """Which roles are read and which filters a text must pass; see filters.text for their names."""

    roles: tuple[Role, ...] = ("query", "title", "surrounding", "alt")
    filters: tuple[dict[str, Any], ...] = ()
    near: NearTexts | None = None


class Fetch(Section):
    """How pictures are asked for."""

    deadline_s: float = Field(default=15, gt=0, description="from the first byte sent to the last byte read")
    connect_s: float = Field(default=5, gt=0)
    max_bytes: int = Field(default=32 << 20, gt=0)
    max_redirects: int = Field(default=5, ge=0)
    retries: int = Field(default=2, ge=0, description="after a transient failure; never after a refusal")
    robots: bool = True
    opt_out: bool = Field(default=True, description="honour X-Robots-Tag and tdm-reservation")
    agent: str = Field(default="Zeromill/0.1", description="product tokens; robots.txt is asked about the first one")
    contact: str | None = Field(
        default=None, max_length=200, description="URL or e-mail address for site owners, part of the agent"
    )
    ports: tuple[Port, ...] | None = Field(default=None, description="that may be asked; null: any")
    blocked_hosts: tuple[str, ...] = ()
    blocked_urls: tuple[str, ...] = Field(default=(), description="prefixes; see filters.blocked")
    stores: tuple[str, ...] = Field(default=(), description="prefixes of files that may be read through fsspec")
    per_host: int = Field(default=16, ge=1, description="requests at once to one host")
    per_host_rate: float = Field(default=10, gt=0, description="requests started per second to one host")
    outage_wait_s: float = Field(default=120, ge=0, description="for a dead resolver or uplink")

    @property
    def token(self) -> str:
        """The name that robots.txt and headers are asked about, in lower case."""
        return re.split("[/ ]", self.agent)[0].lower()

    @field_validator("agent")
    @classmethod
    def _one_agent(cls, agent: str) -> str:
        if not _AGENT.fullmatch(agent):
            raise ValueError("the agent is NAME/VERSION in plain ASCII; the name is of letters, `_` and `-` (RFC 9309)")
        return agent

    @field_validator("contact")
    @classmethod
    def _reachable(cls, contact: str | None) -> str | None:
        if contact is not None and not _CONTACT.fullmatch(contact):
            raise ValueError("the contact is a URL (https://, mailto:) or an e-mail address, in plain ASCII")
        return contact

    @field_validator("blocked_urls")
    @classmethod
    def _prefixes(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        for prefix in prefixes:
            fault = prefix_fault(prefix)
            if fault:
                raise ValueError(f"a prefix of blocked URLs {fault}: {prefix!r:.80}")
        return prefixes

    @field_validator("stores")
    @classmethod
    def _folders(cls, stores: tuple[str, ...]) -> tuple[str, ...]:
        for store in stores:
            if not _STORE.fullmatch(store) or store.startswith(("http://", "https://")):
                raise ValueError(f"a store is SCHEME://.../, with a slash at its end and not of the web: {store!r:.80}")
        return stores


class Pictures(Section):
    """Which filters a picture must pass, and the most pixels that are decoded at all."""

    max_pixels: int = Field(default=100_000_000, gt=0)
    filters: tuple[dict[str, Any], ...] = ()


class Semantic(Section):
    """Pictures compared by their embeddings: each keeps the most similar one before it, and how similar that is."""

    join: float | None = Field(default=None, gt=0, lt=1, description="cosine above which two are one; null: only told")


class Copies(Section):
    """Which pictures count as one; cosines are those of the recipe's first model."""

    near_bits: int | None = Field(
        default=64, ge=0, le=90, description="largest Hamming distance of 256 bits (PDQ); null: equal bytes only"
    )
    turned: bool = Field(default=False, description="mirrored and rotated copies too")
    min_similarity: float | None = Field(default=None, gt=0, lt=1, description="least cosine of two near pictures")
    semantic: Semantic | None = None
    survivor: Literal["best", "first"] = Field(
        default="best", description="who stands for copies when a better one comes later: it, or what was published"
    )


class Model(Weights):
    """A model that scores pairs, by exactly one of `path`, `hub`, `open_clip` and `checkpoint`; all are local files."""

    name: Name = "clip"
    languages: tuple[LanguageCode, ...] | None = Field(
        default=None, min_length=1, description="of texts it scores; null: all"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Model:
        self.check_places()
        return self


class Head(Section):
    """A small network over the embeddings of the model that its file names."""

    file: str = Field(description="written by `zeromill head` or `zeromill cells`")


class Tags(Section):
    """Which concepts of a list a picture is nearest to."""

    concepts: str = Field(default="everyday", description="a shipped list, or a TSV file of id, en and zh")
    top: int = Field(default=5, ge=1)


class Select(Section):
    """Which pairs make the release, by the model's cosine."""

    min_score: float | dict[str, float] | None = Field(default=None, description="of several models: one a name")
    max_score: float | dict[str, float] | None = Field(default=None, description="of several models: one a name")
    top_fraction: float | None = Field(default=None, gt=0, le=1)
    min_heads: dict[str, float] = Field(default={}, description="least value of a head, by its name")
    texts_per_image: int | None = Field(default=None, ge=1)
    images_per_text: int | None = Field(default=None, ge=1, description="a text that is near another counts as that")
    policies: tuple[Policy, ...] = Field(default=(), description="in their order; see filters.policies")


class Validate(Section):
    """What a release must hold to be published."""

    min_pairs: int = Field(default=1, ge=0)
    min_kept_share: float = Field(default=0.0, ge=0, le=1, description="of all candidates")
    sample: int = Field(default=200, ge=0, description="pairs that are looked at one by one")


class Training(Section):
    """How the `train` flow trains on a release."""

    model: str = Field(default="tiny", description="`tiny`, an open_clip model name, or a JSON file")
    samples: int = Field(default=20_000, gt=0)
    batch: int = Field(default=128, gt=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    holdout: float = Field(default=0.1, gt=0, lt=1, description="share of images kept out for retrieval")
    seed: int = 0


class Recipe(Section):
    """Everything that determines a release."""

    name: Name
    about: str = ""
    click_through: ClickThrough | None = ClickThrough()
    texts: Texts = Texts()
    fetch: Fetch = Fetch()
    pictures: Pictures = Pictures()
    copies: Copies = Copies()
    models: tuple[Model, ...] = Field(default=(), description="`model`, with one, is the same as a list of one")
    heads: tuple[Head, ...] = ()
    tags: Tags | None = None
    captions: Captions | None = None
    select: Select = Select()
    validation: Validate = Validate()
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _model_alone(cls, values: Any) -> Any:
        """`model: {...}` says in fewer words what a list of one model says."""
        if not isinstance(values, dict) or values.get("model") is None:
            return values if not isinstance(values, dict) else {k: v for k, v in values.items() if k != "model"}
        if values.get("models"):
            raise ValueError("`model` and `models` both stand here: name all of them in `models`")
        return {key: value for key, value in values.items() if key != "model"} | {"models": [values["model"]]}

    @model_validator(mode="after")
    def _scores_have_a_model(self) -> Recipe:
        cuts = (self.select.min_score, self.select.max_score, self.select.top_fraction)
        if not self.models and any(cut is not None for cut in cuts):
            raise ValueError("select cuts by a score, and without a model there is none: name a model, or drop the cut")
        if not self.models and (self.heads or self.tags is not None):
            raise ValueError("heads and tags read embeddings, and without a model there are none: name a model")
        if not self.models and (self.copies.min_similarity is not None or self.copies.semantic is not None):
            raise ValueError("copies.min_similarity and copies.semantic compare embeddings: name a model, or drop them")
        return self

    @model_validator(mode="after")
    def _captions_have_models(self) -> Recipe:
        if self.captions is None:
            return self
        names, checks = [model.name for model in self.models], self.captions.checks
        asked = {"keep": self.captions.keep, "checks.agreement": checks.agreement, "checks.objects": checks.objects}
        if not names and any(asked.values()):
            key = next(key for key, value in asked.items() if value)
            raise ValueError(f"captions.{key} reads embeddings, and without a model there are none: name a model")
        for key, name in (
            ("agreement", checks.agreement and checks.agreement.model),
            ("objects", checks.objects and checks.objects.model),
        ):
            if name is not None and name not in names:
                raise ValueError(f"captions.checks.{key}.model names a model that is not there: of {', '.join(names)}")
        if self.captions.keep is not None and checks.agreement is not None and checks.agreement.model == names[0]:
            raise ValueError(
                "captions.keep ranks samples by the first model, and checks.agreement asks the same one:\n"
                "a second model is wanted there, as what was chosen by a model agrees with it"
            )
        return self

    @model_validator(mode="after")
    def _models_are_told_apart(self) -> Recipe:
        names = [model.name for model in self.models]
        if len(set(names)) < len(names):
            raise ValueError(f"two models are named {max(names, key=names.count)}: give each a `name` of its own")
        for key in ("min_score", "max_score"):
            bound = getattr(self.select, key)
            if isinstance(bound, dict) and not bound.keys() <= set(names):
                raise ValueError(f"select.{key} names a model that is not there: of {', '.join(names) or 'none'}")
            if isinstance(bound, float) and len(names) > 1:
                raise ValueError(
                    f"scores of several models do not compare: select.{key} needs one each, "
                    f"such as {{{names[0]}: {bound}}}"
                )
        return self


def fetch_facts(fetch: Fetch) -> str:
    """What decides what a fetched part holds, as canonical JSON: the section without its pace."""
    values = fetch.model_dump(mode="json", exclude=set(PACE))
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def contact_missing(fetch: Fetch, allow: Collection[str]) -> str | None:
    """What to do before a run may ask anybody; None where it may, or where the allow list may be all that it asks."""
    if fetch.contact is not None or allow:
        return None
    return (
        "no site may be asked without a contact.\n"
        "Set fetch.contact in the recipe to a URL or e-mail address under which site owners reach you."
    )
