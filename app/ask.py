"""The commands that read: sql, why, releases, export."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from app.show import say, table


class Unanswerable(Exception):
    """A question that the warehouse cannot answer; the message says how to ask."""


def sql(asked: argparse.Namespace) -> int:
    """One query, or a prompt."""
    from warehouse.query import query, query_to

    if asked.query is None:
        return _prompt(asked)
    if asked.out is not None:
        say(f"{query_to(asked.warehouse, asked.query, asked.out)} rows in {asked.out}")
        return 0
    _answer(*query(asked.warehouse, asked.query), as_json=asked.json)
    return 0


def _answer(names: list[str], rows: list[tuple[Any, ...]], *, as_json: bool) -> None:
    if not as_json:
        table(names, rows)
        return
    for row in rows:
        print(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, default=str))


def _prompt(asked: argparse.Namespace) -> int:
    """Read statements that end with a semicolon until the input ends; 1 where a script's statement was refused."""
    from warehouse.errors import WarehouseError
    from warehouse.query import query

    terminal, refused = sys.stdin.isatty(), 0
    if terminal:
        import readline  # noqa: F401  arrows and history at the prompt

        say("Statements end with ; and `SHOW TABLES;` lists what there is. Ctrl-D leaves.")
    for statement in _statements():
        try:
            _answer(*query(asked.warehouse, statement), as_json=asked.json)
        except WarehouseError as error:
            refused += 1
            say(str(error))
    return 1 if refused and not terminal else 0


def _statements() -> Iterator[str]:
    held = ""
    while True:
        try:
            prompt = "      ... " if held else "zeromill> "
            line = input(prompt) if sys.stdin.isatty() else input()
        except EOFError:
            break
        held = f"{held}\n{line}".strip()
        if held.endswith(";"):
            yield held
            held = ""
    if held:
        yield held


def why(asked: argparse.Namespace) -> int:
    """Say in plain words what was decided and why."""
    from warehouse.why import explain

    given = [value for value in (asked.url, asked.row, asked.image) if value is not None]
    if len(given) != 1:
        raise Unanswerable("Ask about one thing: zeromill why URL, zeromill why --row N, or zeromill why --image ID.")
    told = explain(asked.warehouse, url=asked.url, row=asked.row, image=asked.image)
    if not told:
        raise Unanswerable(
            f'Nothing is known about {given[0]}.\nSee what there is: zeromill sql "SELECT url FROM candidates LIMIT 5"'
        )
    if asked.json:
        print(json.dumps([{"about": one.about, "facts": one.facts} for one in told], ensure_ascii=False, default=str))
    else:
        print("\n\n".join("\n".join([one.about, *(f"  {fact}" for fact in one.facts)]) for one in told))
    return 0


def releases(asked: argparse.Namespace) -> int:
    """The releases, the newest first."""
    from dataclasses import asdict

    from warehouse.releases import list_releases

    listed = list_releases(asked.warehouse)
    if asked.json:
        print(json.dumps([asdict(one) for one in listed], ensure_ascii=False))
    elif not listed:
        say(f"No release in {asked.warehouse} yet: zeromill curate SOURCE makes one.")
    else:
        rows = [
            (one.release, one.recipe_name, one.metrics["pairs"], one.metrics["images"], one.trainings, one.created_at)
            for one in listed
        ]
        table(["release", "recipe", "pairs", "pictures", "trainings", "created (UTC)"], rows)
    return 0


def export(asked: argparse.Namespace) -> int:
    """Write the shards, with a line for each."""
    from warehouse.export import export_release

    total = 0
    for shard, pictures in export_release(asked.warehouse, asked.release, asked.to):
        total += pictures
        say(f"  {shard}: {pictures} pictures")
    print(f"{total} pictures of {asked.release} in {asked.to}")
    return 0
