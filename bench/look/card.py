"""JPEG bytes to vectors against what bounds them: the matrix products, the memory and the decoding of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from statistics import median

from actors.models.encoder import PICTURES
from app.show import say
from bench.look.models import TINY, architecture
from bench.look.place import Place
from bench.look.roofline import Ceiling, Tower, ceilings
from bench.look.works import ALL_STAY, actors, forwards
from bench.report import Line, short

LARGE, SMALL = "ViT-L-14", "ViT-B-32"
EMBEDDED = {"cpu": 128, "cuda": 2_000}
"""Pictures of a round. Parts of them are looked at again and again on a card, which is soon done with them."""

TURNS = {"cpu": 1, "cuda": 10}


def card(place: Place) -> Iterator[Line]:
    """Both models' whole way, their forward alone, and the ceilings, in one run."""
    for name in (LARGE, SMALL):
        tower = Tower.of(architecture(TINY if place.tiny else name))
        files = place.pictures(EMBEDDED[place.device])
        bounds = ceilings(tower, place, files, PICTURES[place.device])
        rates, forwards = zip(*(_rates(place, name) for _ in range(place.rounds)), strict=True)
        rate, forward = median(rates), median(forwards)
        _tell(name, tower, bounds, rate, forward)
        yield from _against(name, rate, {bound.name: bound for bound in bounds})


def _rates(place: Place, name: str) -> tuple[float, float]:
    """Pictures a second from JPEG bytes to written vectors, and of the forward alone."""
    files = place.pictures(EMBEDDED[place.device])
    parts, pictures = place.parts(files) * TURNS[place.device], len(files) * TURNS[place.device]
    ours = place.race(actors(place, parts, name, ALL_STAY))
    forward = place.race(forwards(place, pictures, name))
    return pictures / ours.seconds, sum(forward.gave) / forward.seconds


def _against(name: str, rate: float, bounds: dict[str, Ceiling]) -> Iterator[Line]:
    work = f"JPEG bytes to {name} vectors, against"
    matrix, lower = bounds["matrix"], min(bounds["matrix"], bounds["decode"], key=lambda bound: bound.pictures)
    if name == LARGE:
        yield Line(f"{work} the matrix ceiling", rate, matrix.pictures, "pictures/s", rate / matrix.pictures, 0.5)
    else:
        what = f"{work} the lower of matrix and decode ceiling ({lower.name})"
        yield Line(what, rate, lower.pictures, "pictures/s", rate / lower.pictures, 0.8)


def _tell(name: str, tower: Tower, bounds: Sequence[Ceiling], rate: float, forward: float) -> None:
    """The roofline: what a picture needs, what the machine gives, and how much of each ceiling is reached."""
    say(f"\n{name}: {tower.operations() / 1e9:.2f} billion operations a picture, load {os.getloadavg()[0]:.1f}")
    for bound in bounds:
        given, need = f"{bound.rate:.3g} {bound.unit}/s", f"{bound.each:.3g} a picture"
        lets, share = f"{short(bound.pictures)} pictures/s", rate / bound.pictures
        say(f"  {bound.name:<9}{given:>24}{need:>22}{lets:>22}{share:>7.0%} of it reached")
    say(f"  end to end {short(rate)} pictures/s, forward alone {short(forward)}")
    matrix, memory = bounds[0], bounds[1]
    intensity, ridge = matrix.each / memory.each, matrix.rate / memory.rate
    say(f"  {intensity:.0f} operations a byte; above {ridge:.0f} the matrix products bound it, below the memory")
