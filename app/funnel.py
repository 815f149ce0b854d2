"""The forecast of a recipe as a picture: what is left of a source after each stage, in a page of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

INK, PALE, DARK = "#4e79a7", "#d7e3ef", "#222222"
LEFT, WIDE, TALL, GAP = 90, 460, 30, 16

STYLE = (
    "body{font-family:sans-serif;font-size:15px;color:#222;max-width:62em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:0 0 1.5em}td,th{padding:.2em .9em .2em 0;text-align:left}"
    "th{border-bottom:1px solid #999}svg{max-width:100%}"
)

Row = Mapping[str, Any]


def funnel(rows: int, survivors: Sequence[Row]) -> str:
    """An SVG picture: a bar a stage, as wide as the share that is left, pale up to the upper bound of its interval."""
    drawn, top = list[str](), 10
    bars = [{"stage": "rows", "share": {"value": 1.0, "low": 1.0, "high": 1.0}, "rows": {"value": rows}}, *survivors]
    for one in bars:
        drawn += _bar(one, top)
        top += TALL + GAP
    box = f'viewBox="0 0 {LEFT + WIDE + 320} {top}" font-family="sans-serif" font-size="14"'
    paper = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {box}>', paper, *drawn, "</svg>"])


def _bar(one: Row, top: int) -> list[str]:
    share, middle = one["share"], LEFT + WIDE / 2
    said = f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%}), {one['rows']['value']:,.0f} rows"
    drawn = [f'<text x="0" y="{top + 20}" fill="{DARK}">{escape(str(one["stage"]))}</text>']
    for bound, fill in (("high", PALE), ("low", INK)):
        wide = WIDE * share[bound]
        drawn.append(
            f'<rect x="{middle - wide / 2:.1f}" y="{top}" width="{wide:.1f}" height="{TALL}" fill="{fill}">'
            f"<title>{escape(said)}</title></rect>"
        )
    return [*drawn, f'<text x="{LEFT + WIDE + 12}" y="{top + 20}" fill="{DARK}">{escape(said)}</text>']


def page(title: str, picture: str, tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Any]]]]) -> str:
    """A whole HTML page that needs nothing beside it: the picture, and tables of a title, names and rows each."""
    body = [f"<h1>{escape(title)}</h1>", picture]
    for name, columns, rows in tables:
        head = "".join(f"<th>{escape(column)}</th>" for column in columns)
        cells = ("".join(f"<td>{escape(str(value))}</td>" for value in row) for row in rows)
        body.append(
            f"<h2>{escape(name)}</h2><table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
