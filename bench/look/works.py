"""The comparisons of the looking bench, one function each: what they measured as lines, the rest on standard error."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.models.files import FoundModel
from actors.models.vectors import recalled
from actors.pictures.look import Looked
from app.show import say
from bench.look.juicer import juice
from bench.look.loops import Forward, Plain, Retrieval
from bench.look.ours import Ours, OursScored, embedded, looked, unscored
from bench.look.pictures import captions
from bench.look.place import Place
from bench.report import Line, short
from filters.recipe import Pictures

B32 = "ViT-B-32"

EMBEDDED, COMPARED, MEASURED, SCORED = 512, 1_000, 2_000, 512
"""Pictures of a round of each work."""

ALL_STAY = Pictures()
"""No filter."""

MEAN_OFF, WORST_OFF = 1e-3, 1e-2
"""What 1 - cosine may be on the mean and at the worst."""


def embed(place: Place) -> Iterator[Line]:
    """JPEG bytes to vectors: ours, the plain loop, and our forward alone."""
    files, found = tuple(place.pictures(EMBEDDED)), place.found(B32)
    parts = place.parts(files)
    rates: dict[str, list[float]] = {"ours": [], "plain": [], "forward": []}
    for _ in range(place.rounds):
        raced = place.race(actors(place, parts, B32, ALL_STAY))
        _tell_where(raced.gave)
        rates["ours"].append(len(files) / raced.seconds)
        rates["plain"].append(len(files) / place.race([Plain(files, place.model(B32), place.device)]).seconds)
        forward = place.race(forwards(place, len(files), B32))
        rates["forward"].append(sum(forward.gave) / forward.seconds)
        _tell_round(rates)
    work = f"JPEG bytes to {B32} vectors"
    yield _line(f"{work}, against the plain loop", rates, "plain", 5.0)
    yield _line(f"{work}, against our own forward alone", rates, "forward", 0.9)
    yield from _faithful(place, found)


def measures(place: Place) -> Iterator[Line]:
    """Measures, hashes and filters without a model: ours, one Looker a core, and Data-Juicer's operators."""
    files = tuple(place.pictures(MEASURED))
    parts = place.parts(files)
    rates: dict[str, list[float]] = {"ours": [], "operators": [], "fused": []}
    for _ in range(place.rounds):
        out = place.out()
        shares = [tuple(parts[core :: place.cores]) for core in range(place.cores)]
        raced = place.race([Ours(share, parts[0], out, unscored()) for share in shares if share])
        hashes = [hash_ for part in parts for hash_ in pq.read_table(looked(part, out))["phash"].to_pylist()]
        rates["ours"].append(len(files) / raced.seconds)
        for name in ("operators", "fused"):
            folder = place.out()
            folder.mkdir()
            juiced = juice(files, place.cores, name == "fused", folder)
            rates[name].append(len(files) / juiced.whole)
            spent = ", ".join(f"{operator} {seconds:.2f} s" for operator, seconds in juiced.seconds.items())
            say(f"Data-Juicer {juiced.version}, {name}: {spent}; {juiced.left} of {len(files)} left")
        say(f"ours: {len(set(hashes))} of {len(files)} hashes differ")
        _tell_round(rates)
    best = max(("operators", "fused"), key=lambda name: median(rates[name]))
    yield _line("measures, hashes and filters without a model, against Data-Juicer's operators", rates, best, 12.0)


def scores(place: Place) -> Iterator[Line]:
    """Pictures and texts to vectors and their cosine: ours, and clip-retrieval's loop."""
    files = tuple(place.pictures(SCORED))
    texts, parts = tuple(captions(len(files))), place.parts(files)
    rates: dict[str, list[float]] = {"ours": [], "loop": []}
    for _ in range(place.rounds):
        ours = place.race(_scored(actors(place, parts, B32, unscored()), texts))
        rates["ours"].append(sum(ours.gave) / ours.seconds)
        loop = place.race([Retrieval(files, texts, place.model(B32), place.out(), place.device, place.cores)])
        rates["loop"].append(loop.gave[0] / loop.seconds)
        _tell_round(rates)
    yield _line(f"the same with {B32} scores, against clip-retrieval's loop", rates, "loop", 5.0)


def second(place: Place) -> Iterator[Line]:
    """Another recipe over pictures that one has looked at, against the first; without a forward pass."""
    files = tuple(place.pictures(EMBEDDED))
    parts = place.parts(files)
    rates: dict[str, list[float]] = {"second": [], "first": []}
    for _ in range(place.rounds):
        first = actors(place, parts, B32, unscored())
        rates["first"].append(len(files) / place.race(first).seconds)
        other = Pictures(filters=({"filter": "image_too_small", "side": 250}, {"filter": "image_aspect", "limit": 2.5}))
        out = place.out()
        again = place.race([replace(one, out=out, pictures=other, earlier=one.out) for one in first])
        done = [part for gave in again.gave for part in gave]
        passes = sum(part.forwards for part in done)
        if passes or sum(part.rows for part in done) != len(files):
            raise RuntimeError(f"The second recipe sent {passes} pictures through the model: nothing to compare.")
        rates["second"].append(len(files) / again.seconds)
        _tell_round(rates)
    yield _line("a second recipe over the same pictures, the look alone", rates, "first", 20.0, ours="second")


def actors(place: Place, parts: Sequence[Path], name: str, pictures: Pictures) -> list[Ours]:
    """Our contestants with a model, as many as the stage would have, each with its share of the parts."""
    count, threads = place.seats(name)
    found, out = place.found(name), place.out()
    shares = [tuple(parts[one::count]) for one in range(min(count, len(parts)))]
    return [Ours(share, parts[0], out, pictures, found, threads) for share in shares]


def forwards(place: Place, pictures: int, name: str) -> list[Forward]:
    """Its forward alone, by as many contestants with as many threads."""
    count, threads = place.seats(name)
    return [Forward(place.found(name), -(-pictures // count), place.device, threads) for _ in range(count)]


def _scored(ours: Sequence[Ours], texts: Sequence[str]) -> list[OursScored]:
    """Each with as many of the texts as its parts have rows, and a folder of its own for what is said of them."""
    left, scored = iter(texts), []
    for place, one in enumerate(ours):
        rows = sum(pq.read_metadata(part).num_rows for part in one.parts)
        scored.append(OursScored(replace(one, out=one.out / str(place)), tuple(islice(left, rows))))
    return scored


def _faithful(place: Place, found: FoundModel) -> Iterator[Line]:
    """1 - cosine between our vectors and the plain loop's in single precision, of the same photos."""
    files = tuple(place.untouched(COMPARED))
    parts = place.parts(files)
    ours = actors(place, parts, B32, ALL_STAY)
    place.race(ours)
    plain = place.race([Plain(files, place.model(B32), "cpu")]).gave[0]
    off = 1 - (_vectors(parts, ours[0].out, found, len(files)) * plain).sum(1)
    apart = 1 - (plain[:-1] * plain[1:]).sum(1)
    say(f"for scale: 1 - cosine of one photo and the next is {apart.mean():.2g} on the mean, by these random weights")
    for name, value, bound in (("mean", off.mean(), MEAN_OFF), ("worst", off.max(), WORST_OFF)):
        work = f"1 - cosine with the plain loop in float32, {name} of {len(files)} photos, against the bound"
        yield Line(work, float(value), bound, "", bound / float(value), 1.0)


def _vectors(parts: Sequence[Path], out: Path, found: FoundModel, count: int) -> NDArray[np.float32]:
    """In the order of the files."""
    ids = [one for part in parts for one in pq.read_table(looked(part, out))["image_id"].to_pylist()]
    held = recalled([str(embedded(part, out)) for part in parts], ids, [found.identity])[found.identity]
    if len(ids) != count:
        raise RuntimeError(f"{len(ids)} of {count} photos were looked at; there is nothing to compare.")
    return np.stack([held[one] for one in ids])


def _tell_where(gave: Sequence[Sequence[Looked]]) -> None:
    spent: Counter[str] = Counter()
    for done in gave:
        for one in done:
            spent.update(one.seconds)
    say("ours waited for " + ", ".join(f"{step} {took / spent.total():.0%}" for step, took in spent.items()))


def _tell_round(rates: Mapping[str, Sequence[float]]) -> None:
    told = ", ".join(f"{name} {short(of[-1])}" for name, of in rates.items())
    say(f"{told} pictures/s, load {os.getloadavg()[0]:.1f}")


def _line(work: str, rates: Mapping[str, Sequence[float]], peer: str, goal: float, ours: str = "ours") -> Line:
    """The medians of the rounds, and the median of the rounds' own ratios."""
    ratio = median(mine / other for mine, other in zip(rates[ours], rates[peer], strict=True))
    return Line(work, median(rates[ours]), median(rates[peer]), "pictures/s", ratio, goal)
