"""Stacked bars as SVG: what a picture's time goes to, contestant by contestant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#9c755f", "#edc948", "#76b7b2")
LEFT, WIDE, TALL, GAP = 150, 620, 26, 14


@dataclass(frozen=True)
class Bar:
    """One contestant: parts of a picture's time by stage, in order, all in one unit."""

    name: str
    parts: Mapping[str, float]

    @property
    def whole(self) -> float:
        return sum(self.parts.values())


def chart(title: str, bars: Sequence[Bar], unit: str) -> str:
    """An SVG picture of `bars`, the longest as wide as the picture, with a legend of all stages below."""
    stages = list(dict.fromkeys(stage for bar in bars for stage in bar.parts))
    colours = {stage: COLOURS[place % len(COLOURS)] for place, stage in enumerate(stages)}
    most = max(bar.whole for bar in bars)
    drawn, top = [_text(0, 18, title, "bold")], 34
    for bar in bars:
        drawn += _bar(bar, top, WIDE / most, colours)
        drawn.append(_text(LEFT + bar.whole * WIDE / most + 6, top + 18, f"{bar.whole:.3g} {unit}"))
        top += TALL + GAP
    drawn += _legend(stages, colours, top)
    height = top + 22 * (1 + (len(stages) - 1) // 3) + 8
    box = f'viewBox="0 0 {LEFT + WIDE + 130} {height}" font-family="sans-serif" font-size="13"'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', paper, *drawn, "</svg>\n"])


def _bar(bar: Bar, top: int, scale: float, colours: Mapping[str, str]) -> list[str]:
    drawn, left = [_text(0, top + 18, bar.name)], float(LEFT)
    for stage, value in bar.parts.items():
        wide = value * scale
        drawn.append(
            f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{TALL}" fill="{colours[stage]}">'
            f"<title>{escape(stage)}: {value:.3g}</title></rect>"
        )
        left += wide
    return drawn


def _legend(stages: Sequence[str], colours: Mapping[str, str], top: int) -> list[str]:
    drawn = []
    for place, stage in enumerate(stages):
        left, line = LEFT + (place % 3) * 200, top + 22 * (place // 3)
        drawn.append(f'<rect x="{left}" y="{line}" width="12" height="12" fill="{colours[stage]}"/>')
        drawn.append(_text(left + 18, line + 11, stage))
    return drawn


def _text(left: float, line: float, said: str, weight: str = "normal") -> str:
    return f'<text x="{left:.1f}" y="{line}" font-weight="{weight}" fill="#222222">{escape(said)}</text>'
