"""A recipe as types: everything that determines a result, and nothing about how fast or where it runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["query", "title", "surrounding", "alt"]


class Section(BaseModel):
    """A part of a recipe: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClickThrough(Section):
    """Which rows people's clicks speak for; without click columns in the log nothing is judged."""

    min_impressions: int = Field(10, ge=0)
    min_rate: float = Field(0.01, ge=0, le=1)
    prior_clicks: float = Field(1, ge=0, description="Beta prior: clicks seen before the first one")
    prior_skips: float = Field(99, ge=0, description="Beta prior: impressions without a click")
    top_k: int | None = Field(None, ge=1, description="rows kept per query, by smoothed rate")


class Texts(Section):
    """Which roles are read and which filters a text must pass; see filters.text for their names."""

    roles: tuple[Role, ...] = ("query", "title", "surrounding", "alt")
    filters: tuple[dict[str, Any], ...] = ()


class Fetch(Section):
    """How pictures are asked for."""

    deadline_s: float = Field(15, gt=0, description="from the first byte sent to the last byte read")
    connect_s: float = Field(5, gt=0)
    max_bytes: int = Field(32 << 20, gt=0)
    max_redirects: int = Field(5, ge=0)
    retries: int = Field(2, ge=0, description="after a transient failure; never after a refusal")
    robots: bool = True
    opt_out: bool = Field(True, description="honour X-Robots-Tag and tdm-reservation")
    agent: str = "Zeromill/0.1"
    contact: str | None = Field(None, description="URL or address for site owners, part of the agent")
    blocked_hosts: tuple[str, ...] = ()


class Pictures(Section):
    """Which filters a picture must pass, and the most pixels that are decoded at all."""

    max_pixels: int = Field(100_000_000, gt=0)
    filters: tuple[dict[str, Any], ...] = ()


class Copies(Section):
    """Which pictures count as one."""

    phash_bits: int | None = Field(8, ge=0, le=11, description="largest Hamming distance; null: exact only")


class Model(Section):
    """The model that scores pairs: a local open_clip folder, or a hub repository in the local cache."""

    path: str | None = Field(None, description="folder with open_clip_config.json and its weights")
    hub: str | None = Field(None, description="owner/name of a repository in the local hub cache")
    sha256: str | None = Field(None, description="of the weights file; another file is refused")


class Select(Section):
    """Which pairs make the release, by the model's cosine."""

    min_score: float | None = None
    max_score: float | None = None
    top_fraction: float | None = Field(None, gt=0, le=1)
    texts_per_image: int | None = Field(None, ge=1)


class Validate(Section):
    """What a release must hold to be published."""

    min_pairs: int = Field(1, ge=0)
    min_kept_share: float = Field(0.0, ge=0, le=1, description="of all candidates")
    sample: int = Field(200, ge=0, description="pairs that are looked at one by one")


class Training(Section):
    """How the `train` flow trains on a release."""

    model: str = Field("tiny", description="`tiny`, an open_clip model name, or a JSON file")
    samples: int = Field(20_000, gt=0)
    batch: int = Field(128, gt=1)
    learning_rate: float = Field(1e-3, gt=0)
    holdout: float = Field(0.1, gt=0, lt=1, description="share of images kept out for retrieval")
    seed: int = 0


class Recipe(Section):
    """Everything that determines a release."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    about: str = ""
    click_through: ClickThrough | None = ClickThrough()
    texts: Texts = Texts()
    fetch: Fetch = Fetch()
    pictures: Pictures = Pictures()
    copies: Copies = Copies()
    model: Model | None = None
    select: Select = Select()
    validation: Validate = Validate()
    training: Training = Training()
