"""The command that holds two recipes, or two releases, against each other."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from app.show import say, table


class NoPage(Exception):
    """The page cannot be written; the message says where it could be."""


def compare(asked: argparse.Namespace) -> int:
    """Tell what each of two selections keeps that the other drops, and write a page of examples where one is asked."""
    from tasks.compare import as_json, compare_named, counts, write_page

    told = compare_named(asked.warehouse, asked.first, asked.second, asked.on, asked.seed)
    if asked.to is not None:
        try:
            write_page(told, Path(asked.to))
        except OSError as error:
            raise NoPage(f"The page cannot be written: {error}\nName another file with --to.") from error
    if asked.json:
        print(json.dumps(as_json(told), ensure_ascii=False))
        return 0
    table(["", f"on {told.on}"], counts(told.comparison))
    for side in (told.comparison.first, told.comparison.second):
        rows = [(f"cut {name}", round(value, 4)) for name, value in side.cuts.items()]
        table([side.name, ""], [*rows, *side.reasons.items()])
    for note in told.notes:
        say(note)
    if asked.to is None:
        say("With --to FILE.html you get a page with pictures of what only one of them keeps.")
    return 0
