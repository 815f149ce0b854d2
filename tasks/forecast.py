"""What a sample says of the whole: shares and sums with their intervals, and how time grows with rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from filters.versioned import read_list
from tasks.progress import Clock, Lap
from warehouse.forecast import Drawn, Fate
from warehouse.reasons import ORDER, STAGES

Z = 1.959964
"""Of a normal distribution: 95 of 100 lie within so many deviations."""

LEFT_OUT = ("publish",)
"""A sample is never published."""


@dataclass(frozen=True)
class Range:
    """An expected value, and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Range:
        """All three by a factor."""
        return Range(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Share:
    """Rows of one fate: how many of the sample, their share, and how many of the whole source that makes."""

    stage: str
    reason: str
    drawn: int
    share: Range
    rows: Range


@dataclass(frozen=True)
class Hours:
    """The time of one step for the whole source: what it took for the sample, to start and for each unit of its work.

    `each` are seconds a unit, `units` how many of these the whole source has; both 0 where a sample is too small to
    show that the step grows at all. Then the upper bound is the one if all of its time grew.
    """

    step: str
    sample_s: float
    start_s: float
    each: Range
    units: float
    hours: Range


@dataclass(frozen=True)
class Device:
    """How many pictures a second a device embeds with a model, and who measured that, when."""

    name: str
    model: str
    pictures_a_second: float
    source: str


def wilson(found: int, drawn: int, rows: int) -> Range:
    """The share `found` of `drawn` with Wilson's score interval (Wilson 1927), drawn without return from `rows`.

    What was drawn counts as more where little is left to draw: the interval closes when the whole source was drawn.
    """
    share = found / drawn
    if drawn >= rows:
        return Range(share, share, share)
    size = drawn * (rows - 1) / (rows - drawn)
    middle = (share + Z * Z / (2 * size)) / (1 + Z * Z / size)
    reach = Z / (1 + Z * Z / size) * math.sqrt(share * (1 - share) / size + Z * Z / (4 * size * size))
    return Range(share, max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach)))


def total(values: Sequence[float], rows: int, most: float) -> Range:
    """The sum over all `rows` of what `values` are for the drawn ones, with the interval of a mean.

    Values that do not vary have no such interval: then so many of the rest may be zero, or up to `most`, as Wilson's
    interval of the share of those that are not zero says. `most` is what a row may have, if that is not seen.
    """
    drawn = len(values)
    mean = float(np.mean(values))
    if drawn >= rows:
        return Range(mean * rows, mean * rows, mean * rows)
    if min(values) == max(values):
        share = wilson(drawn if mean else 0, drawn, rows)
        return Range(mean, share.low * mean, share.high * (mean or most)).times(rows)
    reach = Z * float(np.std(values, ddof=1)) * math.sqrt((rows - drawn) / (rows * drawn))
    return Range(mean * rows, max(0.0, mean - reach) * rows, (mean + reach) * rows)


def reasons(fates: Sequence[Fate], drawn: Drawn) -> list[Share]:
    """The rows of every reason, in the order of the ledger, and those that would be kept at the end."""
    counted = Counter((fate.stage or "", fate.reason or "kept") for fate in fates)
    order = sorted(counted, key=lambda one: (one[1] == "kept", ORDER.get(one[1], len(ORDER))))
    return [_share(stage, reason, counted[stage, reason], drawn) for stage, reason in order]


def survivors(fates: Sequence[Fate], drawn: Drawn) -> list[Share]:
    """The rows that are left after each stage, in their order."""
    left, told = len(fates), []
    gone = Counter(fate.stage for fate in fates)
    for stage, _ in STAGES:
        if stage not in LEFT_OUT:
            left -= gone[stage]
            told.append(_share(stage, "left", left, drawn))
    return told


def _share(stage: str, reason: str, found: int, drawn: Drawn) -> Share:
    share = wilson(found, drawn.drawn, drawn.rows)
    return Share(stage, reason, found, share, share.times(drawn.rows))


def sums(fates: Sequence[Fate], drawn: Drawn, picture: int) -> Mapping[str, Range]:
    """URLs and bytes to fetch, pictures that come, bytes to keep, and pairs, of the whole source.

    A URL is fetched once, and kept once, however many rows have it: each that passes the sift counts for its part.
    `picture`: bytes that one may have, which bounds what none of the sample has shown.
    """
    asked = [1 / fate.rows_fetched if fate.fetched else 0.0 for fate in fates]
    kept = [part * fate.stays for part, fate in zip(asked, fates, strict=True)]
    sizes = [fate.nbytes or 0 for fate in fates]
    captions = [part * fate.captions for part, fate in zip(asked, fates, strict=True)]
    values = {
        "urls_to_fetch": (asked, 1.0),
        "pictures": ([part * (size > 0) for part, size in zip(asked, sizes, strict=True)], 1.0),
        "bytes_to_fetch": ([part * size for part, size in zip(asked, sizes, strict=True)], max(sizes) or picture),
        "bytes_to_keep": ([part * size for part, size in zip(kept, sizes, strict=True)], max(sizes) or picture),
        "pairs": ([more + fate.pairs for more, fate in zip(captions, fates, strict=True)], 1.0),
        "pairs_of_captions": (captions, max(1.0, *(fate.captions for fate in fates)) * any(captions)),
    }
    return {name: total(told, drawn.rows, most) for name, (told, most) in values.items()}


def hours(clock: Clock, urls: Range, drawn: Drawn, slots: Mapping[str, int]) -> list[Hours]:
    """Each step's time for the whole source, of which `urls` are to be fetched, as measured on the sample.

    `slots`: parts that a stage's actors have under way at once. What starts is done once whatever the source's size,
    and ingest was done for the whole source already. URLs grow as `urls` do, all else as the rows.
    """
    asked = sum(lap.marks[-1][1] for lap in clock.laps if lap.step == "fetch" and lap.marks)
    by_url, by_row = urls.value / max(asked, 1), drawn.rows / drawn.drawn
    factors = {"start": 1.0, "ingest": 1.0, "fetch": by_url, "look": by_url}
    told = []
    for name in _names(clock):
        laps = [lap for lap in clock.laps if (lap.step or lap.stage) == name and lap.marks]
        whole = clock.steps.get(name, sum(lap.seconds for lap in laps))
        told.append(_hours(name, whole, laps, factors.get(name, by_row), slots.get(name, 1)))
    return told


def _names(clock: Clock) -> list[str]:
    """The steps in their order; what actors did between steps, which is reading, comes after the ingest."""
    loose = [lap.stage for lap in clock.laps if not lap.step]
    after = list(clock.steps).index("ingest") + 1
    names = list(clock.steps)
    return list(dict.fromkeys([*names[:after], *loose, *names[after:]]))


def _hours(step: str, whole: float, laps: Sequence[Lap], factor: float, slots: int) -> Hours:
    """What of a step is its laps grows with their rows; the rest was not seen to grow, and may at most as much."""
    if not laps:
        return Hours(step, whole, whole, Range(0, 0, 0), 0, _in_hours(Range(whole, whole, whole * max(factor, 1))))
    grown = [(lap, lap.marks[-1][1], *growth(lap, slots, factor)) for lap in laps]
    rest = max(0.0, whole - sum(lap.seconds for lap in laps))
    start = rest + sum(begins for _, _, begins, _ in grown)
    seconds = Range(*(sum(getattr(each, end) * rows for _, rows, _, each in grown) for end in ("value", "low", "high")))
    value = start + seconds.value * factor
    # where a start cannot be told apart, all of a lap may be starting
    starting = sum(lap.seconds - begins for lap, _, begins, each in grown if each.low == 0)
    least = min(value, start + starting + seconds.low * factor)
    units = max(rows for _, rows, _, _ in grown)
    each = seconds.times(1 / max(units, 1))
    return Hours(step, whole, start, each, units * factor, _in_hours(Range(value, least, max(value, whole * factor))))


def growth(lap: Lap, slots: int, factor: float) -> tuple[float, Range]:
    """Seconds before a lap's first row, and seconds for each: a line through the moments at which its parts were done.

    `slots` parts are under way at once and end as one wave, so a part stands at the end of its wave. With less than
    two waves a start cannot be told apart: all of the time may be that of the rows, and none of it. Of what then comes
    for `factor` times the rows the geometric middle is expected, which is as many times too much as too little.
    """
    parts, rows = len(lap.marks), lap.marks[-1][1]
    most = lap.seconds / max(rows, 1)
    waves = np.array([math.ceil((place + 1) / slots) for place in range(parts)])
    if rows == 0 or waves[-1] < 2:
        return 0.0, Range(most / math.sqrt(max(factor, 1)), 0.0, most)
    across = waves * slots * rows / parts
    moments = np.array([moment for moment, _ in lap.marks])
    spread = float(((across - across.mean()) ** 2).sum())
    slope = float(((across - across.mean()) * (moments - moments.mean())).sum()) / spread
    left = moments - moments.mean() - slope * (across - across.mean())
    reach = Z * math.sqrt(float((left**2).sum()) / max(parts - 2, 1) / spread)
    slope = min(max(slope, 0.0), most)
    start = max(0.0, lap.seconds - slope * rows)
    return start, Range(slope, max(0.0, slope - reach), min(most, slope + reach))


def _in_hours(seconds: Range) -> Range:
    return seconds.times(1 / 3600)


def devices() -> list[Device]:
    """The shipped table of devices."""
    _, lines = read_list(files("recipes") / "devices.tsv", "the table of devices")
    rows = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    return [Device(name, model, float(speed), source) for name, model, speed, source in rows]


def embedding_hours(device: Device, pictures: Range) -> Range:
    """Hours in which one such device embeds so many pictures: of its model alone, if it is fed as fast as it goes."""
    return pictures.times(1 / device.pictures_a_second / 3600)
