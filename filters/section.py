"""What the sections of a recipe share: strictness, and how weights are named."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LanguageCode = Annotated[str, Field(pattern=r"^[a-z]{2,3}$", description="ISO 639, or und")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class Section(BaseModel):
    """A part of a recipe: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Weights(Section):
    """Where the files of a model are; all are local."""

    path: str | None = Field(default=None, description="folder of a model, in open_clip's or transformers' layout")
    hub: str | None = Field(default=None, description="owner/name of a repository in the local hub cache")
    open_clip: str | None = Field(
        default=None, pattern=r"^[^/\s]+/[^/\s]+$", description="ARCHITECTURE/TAG, weights in the local hub cache"
    )
    checkpoint: str | None = Field(default=None, description="weights file; needs `config`")
    config: str | None = Field(default=None, description="open_clip_config.json of a `checkpoint`")
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="of the weights file; another file is refused"
    )

    def check_places(self, *others: str | None) -> None:
        """Raise ValueError unless exactly one place is named, of these files' and the `others`."""
        places = (self.path, self.hub, self.open_clip, self.checkpoint, *others)
        if sum(place is not None for place in places) != 1:
            names = "`path`, `hub`, `open_clip`" + (", `checkpoint` and `endpoint`" if others else " and `checkpoint`")
            raise ValueError(f"a model is one of {names}")
        if (self.checkpoint is None) != (self.config is None):
            raise ValueError("a `checkpoint` needs its `config`, as weights do not say how pictures are prepared")
