"""Curves and dots as SVG: where good and bad pictures lie on a measure, and where the bound does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10

INKS = ("#222222", "#e15759", "#f28e2b", "#4e79a7", "#59a14f", "#b07aa1", "#76b7b2", "#9c755f", "#edc948")
LEFT, TOP, WIDE, TALL = 60, 40, 560, 300

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """What lies along a side, from `low` to `high`; on a scale of powers of ten where `log`."""

    name: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """From 0 at `low` to 1 at `high`; what lies beyond is put on the edge."""
        held = min(max(value, self.low), self.high)
        if self.log:
            return log10(held / self.low) / log10(self.high / self.low)
        return (held - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Series:
    """Points of one kind of pictures, joined by a line or as dots."""

    name: str
    points: Sequence[Point]
    dots: bool = False


def chart(title: str, across: Axis, up: Axis, series: Sequence[Series], bounds: Sequence[Series]) -> str:
    """An SVG picture of `series` in colours, with `bounds` as broken lines and a legend beside them."""
    drawn = [_text(LEFT, 22, title, "bold"), *_grid(across, up)]
    for place, one in enumerate(series):
        ink = INKS[place % len(INKS)]
        drawn += _dots(one, across, up, ink) if one.dots else [_line(one, across, up, ink, "")]
        line = TOP + 14 + 20 * place
        drawn.append(f'<rect x="{LEFT + WIDE + 16}" y="{line - 10}" width="12" height="12" fill="{ink}"/>')
        drawn.append(_text(LEFT + WIDE + 34, line, one.name))
    drawn += [_line(bound, across, up, INKS[0], ' stroke-dasharray="5 4"') for bound in bounds]
    box = f'viewBox="0 0 {LEFT + WIDE + 240} {TOP + TALL + 60}" font-family="sans-serif" font-size="13"'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', paper, *drawn, "</svg>\n"])


def _grid(across: Axis, up: Axis) -> list[str]:
    drawn = []
    for tick in across.ticks:
        left = LEFT + WIDE * across.place(tick)
        drawn.append(_stroke(left, TOP, left, TOP + TALL))
        drawn.append(_text(left - 8, TOP + TALL + 18, f"{tick:g}"))
    for tick in up.ticks:
        line = TOP + TALL * (1 - up.place(tick))
        drawn.append(_stroke(LEFT, line, LEFT + WIDE, line))
        drawn.append(_text(LEFT - 36, line + 4, f"{tick:g}"))
    name = _text(LEFT, TOP + TALL + 42, f"across: {across.name}; upwards: {up.name}")
    return [*drawn, name]


def _spots(one: Series, across: Axis, up: Axis) -> list[str]:
    return [f"{LEFT + WIDE * across.place(x):.1f},{TOP + TALL * (1 - up.place(y)):.1f}" for x, y in one.points]


def _line(one: Series, across: Axis, up: Axis, ink: str, style: str) -> str:
    spots = " ".join(_spots(one, across, up))
    named = f"<title>{escape(one.name)}</title>"
    return f'<polyline points="{spots}" fill="none" stroke="{ink}" stroke-width="1.8"{style}>{named}</polyline>'


def _dots(one: Series, across: Axis, up: Axis, ink: str) -> list[str]:
    """One path for all: a dot is a stroke of no length with a round end."""
    path = "".join(f"M{spot}h0" for spot in _spots(one, across, up))
    return [f'<path d="{path}" stroke="{ink}" stroke-width="4" stroke-linecap="round" stroke-opacity="0.6"/>']


def _stroke(left: float, top: float, right: float, bottom: float) -> str:
    return f'<path d="M{left:.1f} {top:.1f}L{right:.1f} {bottom:.1f}" stroke="#dddddd"/>'


def _text(left: float, line: float, said: str, weight: str = "normal") -> str:
    return f'<text x="{left:.1f}" y="{line:.1f}" font-weight="{weight}" fill="#222222">{escape(said)}</text>'
