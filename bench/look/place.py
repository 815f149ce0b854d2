"""What all works of the looking bench share: a folder, the pictures and models in it, the device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TypeVar

from actors.models.files import FoundModel, find_model
from bench.look.apart import Raced, Ready, in_turn, race
from bench.look.models import TINY, write_model
from bench.look.pictures import build, photos, write_parts
from filters.recipe import Model
from tasks.memory import needed

T = TypeVar("T")


@dataclass
class Place:
    """Pictures are built, and models written, when they are first asked for; `rounds` of each comparison are run.

    For a test, `most` bounds every work's pictures, and `tiny` puts a tiny model in the place of every other and lets
    contestants run in this process.
    """

    folder: Path
    device: str
    rounds: int
    most: int | None = None
    tiny: bool = False

    def __post_init__(self) -> None:
        self._outs: Iterator[int] = count()
        self._models: dict[str, Path] = {}

    @property
    def cores(self) -> int:
        return os.cpu_count() or 1

    def race(self, contestants: Sequence[Ready[T]]) -> Raced[T]:
        """Seconds that they take at the same time, each in a process of its own, and what they gave."""
        return in_turn(contestants) if self.tiny else race(contestants)

    def pictures(self, wanted: int) -> list[Path]:
        """As many of the built pictures, at most `most`."""
        wanted = min(wanted, self.most or wanted)
        if wanted > len(self._built):
            raise ValueError(f"{wanted} pictures are asked for, {len(self._built)} are built")
        return self._built[:wanted]

    @cached_property
    def _built(self) -> list[Path]:
        return build(self.folder / "pictures", min(PICTURES, self.most or PICTURES))

    def untouched(self, wanted: int) -> list[Path]:
        """As many real photos as their makers left them, and built pictures where they are too few."""
        wanted = min(wanted, self.most or wanted)
        own = photos()[:wanted]
        return own + self.pictures(wanted)[: wanted - len(own)]

    def parts(self, files: Sequence[Path]) -> list[Path]:
        """Fetched parts of these files, as many for each core, of at most PART_ROWS rows."""
        pieces = self.cores * -(-len(files) // (PART_ROWS * self.cores))
        return write_parts(files, self.out(), -(-len(files) // pieces))

    def out(self) -> Path:
        """A name for a folder that is not there yet."""
        return self.folder / f"out-{next(self._outs)}"

    def seats(self, name: str) -> tuple[int, int]:
        """Actors with a model, and cores of each, as the look stage takes them: all cores, if memory holds so many."""
        if self.device == "cuda":
            return 1, self.cores
        room = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        actors = max(1, min(self.cores, room // needed(Path(self.found(name).weights).stat().st_size)))
        return actors, self.cores // actors

    def model(self, name: str) -> Path:
        """The folder of an open_clip model with random weights."""
        name = TINY if self.tiny else name
        if name not in self._models:
            self._models[name] = write_model(self.folder / "models" / name, name)
        return self._models[name]

    def found(self, name: str) -> FoundModel:
        return find_model(Model(path=str(self.model(name))))


PICTURES = 2_000
"""That are built; works take the first so many of them."""

PART_ROWS = 250
