"""How answers look on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def say(line: str) -> None:
    """A line beside the answer: standard output stays for the answer alone."""
    print(line, file=sys.stderr, flush=True)


def table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows in columns; numbers to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(names):
        numeric = all(isinstance(row[place], int | float) for row in rows)
        shown.add_column(name, justify="right" if numeric and rows else "left", overflow="fold")
    for row in rows:
        shown.add_row(*("" if value is None else str(value) for value in row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False).print(shown)
