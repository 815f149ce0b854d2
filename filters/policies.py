"""Policies over pairs as sections of a recipe: each a measure of stored scores, vectors and texts, and a cut of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from filters.section import LanguageCode, Section

Seed = Annotated[int, Field(default=0, ge=0, lt=1 << 63, description="of what is drawn by the ids of pairs")]
Of = Annotated[
    Literal["all", "left"],
    Field(description="the pairs that a fraction is of: all of the pool, or those that what stands before it left"),
]


class Target(Section):
    """Pictures that others are held against, by exactly one of what has stored vectors."""

    protected: str | None = Field(default=None, description="name of a protected set")
    release: str | None = Field(default=None, description="name of a release of the warehouse")
    vectors: str | None = Field(default=None, description="Parquet file with a column `vector`, unit vectors")

    @model_validator(mode="after")
    def _one(self) -> Target:
        if sum(place is not None for place in (self.protected, self.release, self.vectors)) != 1:
            raise ValueError("a target is one of `protected`, `release` and `vectors`")
        return self


class _Ranked(Section):
    """What is cut at a value of its measure, or at the value that a fraction of the pairs reaches."""

    fraction: float | None = Field(default=None, gt=0, le=1, description="of the pairs that stays")
    min: float | None = Field(default=None, description="value that a pair must reach")

    @model_validator(mode="after")
    def _one_cut(self) -> _Ranked:
        if (self.fraction is None) == (self.min is None):
            raise ValueError("the cut is one of `fraction` and `min`")
        return self


class MutualTop1(Section):
    """TaiSu: of a seeded group of pairs those stay whose text or whose picture is the other's best in the group."""

    policy: Literal["mutual_top1"]
    group: int = Field(default=120, ge=2, description="most pairs in a group")
    seed: Seed = 0


class NegCLIPLoss(_Ranked):
    """A pair's cosine less what its picture and its text have in common with all others of seeded batches."""

    policy: Literal["negcliploss"]
    temperature: float = Field(default=0.01, gt=0, description="0.01 for OpenAI's CLIP, 0.07 for DFN")
    batch: int = Field(default=32_768, ge=2, description="most pairs in a batch")
    rounds: int = Field(default=5, ge=1, description="of batches, whose values are averaged")
    of: Of = "all"
    seed: Seed = 0


class NormSim(_Ranked):
    """How near a picture is to a set of pictures: the largest cosine, or the root of the sum of their squares."""

    policy: Literal["normsim"]
    target: Target
    norm: Literal[2, "inf"] = "inf"
    of: Of = "left"


class Clusters(Section):
    """DataComp: pictures stay whose cell of a collection holds a picture of the target too."""

    policy: Literal["clusters"]
    cells: str = Field(description="file that `zeromill cells` wrote, for a model of the recipe")
    target: Target


class Balance(Section):
    """MetaCLIP: pairs whose texts name entries of a list stay, those of frequent entries by a seeded chance only."""

    policy: Literal["balance"]
    entries: str = Field(description="file with an entry a line")
    most: int = Field(default=20_000, ge=1, description="pairs of one entry; t of the paper")
    most_unspaced: int | None = Field(
        default=None, ge=1, description="the same of Chinese entries; null: the t of the same tail share"
    )
    seed: Seed = 0


class BestSource(Section):
    """Native and synthetic texts of a picture: those stay that no text of the other kind scores better than."""

    policy: Literal["best_source"]
    margin: float = Field(default=0, description="by which a synthetic text must be ahead")


class Text(Section):
    """Pairs stay whose text is in a language and long enough: DataComp's rules, over a pool that has all texts."""

    policy: Literal["text"]
    languages: tuple[LanguageCode, ...] | None = Field(default=None, min_length=1, description="null: all")
    parts: int = Field(default=0, ge=0, description="least, between white space")
    characters: int = Field(default=0, ge=0, description="least, of any kind")


class Words(Section):
    """Pairs stay whose text has a word of a list, between white space, in any case."""

    policy: Literal["words"]
    words: str = Field(description="file with a word a line")


Policy = Annotated[
    MutualTop1 | NegCLIPLoss | NormSim | Clusters | Balance | BestSource | Text | Words, Field(discriminator="policy")
]
"""One of an ordered list: measures are of the whole pool, cuts are made one after the other."""


def files_of(policy: Policy) -> dict[str, str]:
    """The files that a policy names, by the keys under which it does."""
    match policy:
        case Balance():
            return {"entries": policy.entries}
        case Words():
            return {"words": policy.words}
        case Clusters() | NormSim():
            target = {"target.vectors": policy.target.vectors} if policy.target.vectors is not None else {}
            return ({"cells": policy.cells} if isinstance(policy, Clusters) else {}) | target
        case _:
            return {}


def with_files(policy: Policy, files: Mapping[str, str]) -> Policy:
    """The same policy with these in the place of the files that it names."""
    told = {name: file for name, file in files.items() if "." not in name}
    if "target.vectors" in files and isinstance(policy, Clusters | NormSim):
        target = policy.target.model_copy(update={"vectors": files["target.vectors"]})
        return policy.model_copy(update=told | {"target": target})
    return policy.model_copy(update=told)
