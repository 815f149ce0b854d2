"""Where bounds on blank and blurry pictures come from: `python -m bench.calibrate PHOTOS [FOLDER ...] [--to DIR]`.

Every second photo of the first folder chooses bounds that lose half or one of a hundred; the others and the further
folders check them. What is bad is made of the photos: blurred, dark, or nothing but a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.pictures.decode import Picture, Pixels, decode
from actors.pictures.measures import measure
from app.show import say, table
from bench.calibrate_bad import LEAST, WIDTH, blank, blurred
from bench.calibrate_chart import Axis, Series, chart
from bench.report import machine
from filters.pictures import Blank, Blurry

MEASURES = ("std", "entropy", "sharpness")
FEWEST = 20
"""Photos of the first folder at least; of fewer, one of a hundred says nothing."""

LOST = (0.005, 0.01)
"""Shares of good photos that a bound may lose."""

_MAX_PIXELS = 100_000_000
_SIDE = 224  # pixels of the shorter side, as the look stage decodes

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Pictures of one kind; `values` of the measures in their order, (n, 3). `fault` is what they have, if any."""

    kind: str
    fault: str | None
    values: Values

    def turned_away(self, judge: Blank | Blurry) -> float:
        """The share that a filter turns away."""
        columns = [pa.array(column) for column in self.values.T]
        stays = int(judge.rejects(pa.RecordBatch.from_arrays(columns, list(MEASURES))).null_count)
        return 1 - stays / len(self.values)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured; 2 where there are too few photos."""
    asked = argparse.ArgumentParser(prog="python -m bench.calibrate", description=__doc__)
    asked.add_argument("folder", type=Path, help="of photos that are good, with nothing else in it")
    asked.add_argument("further", type=Path, nargs="*", help="folders of good photos that only check")
    asked.add_argument("--json", action="store_true", help="one object a kind on standard output, nothing else")
    asked.add_argument("--to", type=Path, help="the folder that gets the charts")
    options = asked.parse_args(arguments)
    photos = _photos(options.folder)
    if len(photos) < FEWEST:
        say(f"bench.calibrate: {len(photos)} photos under {options.folder}; at least {FEWEST} are needed")
        return 2
    say(machine())
    groups = [_group("photos that choose", None, photos[::2]), _group("photos that check", None, photos[1::2])]
    groups += [_group(path.name, None, _photos(path)) for path in options.further]
    groups += _bad(photos[1::2])
    _tell(groups, options.json)
    if options.to:
        _draw(groups, options.to)
    return 0


def _photos(folder: Path) -> list[bytes]:
    """The bodies of the pictures under a folder in the order of their names; what is no picture is left out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [body for body in (file.read_bytes() for file in files) if _pixels(body, _SIDE) is not None]


def _pixels(body: bytes, side: int) -> Pixels | None:
    picture = decode(body, _MAX_PIXELS, side)
    return picture.pixels if isinstance(picture, Picture) else None


def _bad(photos: Sequence[bytes]) -> list[Group]:
    """Made of the photos that check, so that good and bad ones differ in nothing but the fault."""
    made: dict[tuple[str, str], list[bytes]] = {}
    for seed, body in enumerate(photos):
        photo = _pixels(body, WIDTH)
        if photo is None or max(photo.shape) < LEAST:
            continue
        for fault, bodies in (("blurry", blurred(photo)), ("blank", blank(photo, seed))):
            for kind, bad in bodies:
                made.setdefault((kind, fault), []).append(bad)
    return [_group(kind, fault, bodies) for (kind, fault), bodies in made.items()]


def _group(kind: str, fault: str | None, bodies: Sequence[bytes]) -> Group:
    """Pictures as the look stage measures them."""
    seen = [measure(pixels) for pixels in (_pixels(body, _SIDE) for body in bodies) if pixels is not None]
    return Group(kind, fault, np.array([(one.std, one.entropy, one.sharpness) for one in seen]).reshape(-1, 3))


def _tell(groups: Sequence[Group], as_json: bool) -> None:
    choosing, checking = groups[0], groups[1]
    bounds = {lost: np.quantile(choosing.values, lost, axis=0) for lost in LOST}
    lines = [_line(group, checking) for group in groups]
    if as_json:
        for lost, values in bounds.items():
            print(json.dumps({"bound": lost, **dict(zip(MEASURES, values.tolist(), strict=True))}))
        for line in lines:
            print(json.dumps(line))
        return
    table(["photos lost", *MEASURES], [(f"{lost:.1%}", *_short(values)) for lost, values in bounds.items()])
    table(list(lines[0]), [tuple(line.values()) for line in lines])


def _line(group: Group, good: Group) -> dict[str, str | int | float | None]:
    """Medians of the measures, the area under the curve of the one that is asked, and what the defaults turn away."""
    place = {"blurry": 2, "blank": 1}.get(group.fault or "")
    medians = dict(zip(MEASURES, _short(np.median(group.values, axis=0)), strict=True))
    return {
        "kind": group.kind,
        "pictures": len(group.values),
        **medians,
        "auc": None if place is None else round(area(good.values[:, place], group.values[:, place]), 4),
        "image_blank": round(group.turned_away(Blank()), 4),
        "image_blurry": round(group.turned_away(Blurry()), 4),
    }


def _short(values: Values) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def area(good: Values, bad: Values) -> float:
    """Of all pairs of a good and a bad one, the share in which the good one has more, ties by half: ROC's area."""
    ordered = np.sort(bad)
    below = np.searchsorted(ordered, good, "left") + np.searchsorted(ordered, good, "right")
    return float(below.mean() / 2 / len(bad))


def _draw(groups: Sequence[Group], folder: Path) -> None:
    good, blurs = groups[1], [group for group in groups if group.fault == "blurry"]
    (folder / "measures-sharpness.svg").write_text(_sharpness(good, blurs), "utf-8")
    (folder / "measures-roc.svg").write_text(_roc(good, blurs), "utf-8")
    blanks = [group for group in groups if group.fault == "blank"]
    (folder / "measures-blank.svg").write_text(_blank(good, blanks), "utf-8")


def _sharpness(good: Group, blurs: Sequence[Group]) -> str:
    across = Axis("sharpness", 1, 100_000, (1, 10, 100, 1_000, 10_000, 100_000), log=True)
    up = Axis("share of the pictures that are at most so sharp", 0, 1, (0, 0.25, 0.5, 0.75, 1))
    series = [Series(group.kind, _rising(group.values[:, 2])) for group in (good, *blurs)]
    bound = Blurry().sharpness
    return chart("Sharpness of photos, and of the same ones blurred", across, up, series, [_upright(bound, up)])


def _roc(good: Group, blurs: Sequence[Group]) -> str:
    across = Axis("share of sharp photos lost", 0.005, 1, (0.005, 0.01, 0.05, 0.1, 0.5, 1), log=True)
    up = Axis("share of blurred ones turned away", 0, 1, (0, 0.25, 0.5, 0.75, 1))
    losses = np.geomspace(across.low, across.high, 60)
    cuts = np.quantile(good.values[:, 2], losses)
    series = [Series("by chance", list(zip(losses.tolist(), losses.tolist(), strict=True)))]
    for blur in blurs:
        caught = (blur.values[:, 2] < cuts[:, None]).mean(axis=1)
        series.append(Series(blur.kind, list(zip(losses.tolist(), caught.tolist(), strict=True))))
    return chart("What each bound on sharpness catches, and what it costs", across, up, series, [])


def _blank(good: Group, blanks: Sequence[Group]) -> str:
    across = Axis("standard deviation of grey", 0.1, 128, (0.1, 1, 2, 10, 100), log=True)
    up = Axis("entropy in bits", 0, 8, (0, 1, 2, 3, 4, 5, 6, 7, 8))
    series = [Series(group.kind, group.values[:, :2].tolist(), dots=True) for group in (good, *blanks)]
    judge = Blank()
    level = Series("entropy", [(across.low, judge.entropy), (across.high, judge.entropy)])
    return chart("Photos, and pictures with little to see", across, up, series, [_upright(judge.std, up), level])


def _upright(bound: float, up: Axis) -> Series:
    return Series(f"the default, {bound:g}", [(bound, up.low), (bound, up.high)])


def _rising(values: Values) -> list[tuple[float, float]]:
    shares = np.linspace(0, 1, 101)
    return list(zip(np.quantile(values, shares).tolist(), shares.tolist(), strict=True))


if __name__ == "__main__":
    sys.exit(main())
