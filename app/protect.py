"""The command that protects benchmark pictures: no release may hold them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from app.show import say, table

if TYPE_CHECKING:
    from tasks.protect import Failed, Registered

NAMED = 5
"""Files that are told by name of those that are not protected."""


class Unprotectable(Exception):
    """Words that do not say what to protect; the message says which do."""


def protect(asked: argparse.Namespace) -> int:
    """Register a folder as a set, remove a set, or list what is protected."""
    if asked.name is None:
        return _list(asked)
    if asked.remove:
        return _remove(asked)
    if asked.folder is None:
        raise Unprotectable(
            f"Say which folder has the pictures of {asked.name}: zeromill protect {asked.name} FOLDER\n"
            f"To protect them no more: zeromill protect {asked.name} --remove"
        )
    return _register(asked)


def _list(asked: argparse.Namespace) -> int:
    from warehouse.protected import list_sets

    sets = list_sets(asked.warehouse)
    if asked.json:
        print(json.dumps([asdict(one) for one in sets]))
    elif sets:
        rows = [(one.name, one.pictures, one.flat, one.embedded, one.added_at) for one in sets]
        table(["name", "pictures", "of them flat", "embedded", "added_at"], rows)
    else:
        say("Nothing is protected. Register a benchmark's pictures: zeromill protect NAME FOLDER")
    return 0


def _remove(asked: argparse.Namespace) -> int:
    from warehouse.protected import remove

    if asked.folder is not None:
        raise Unprotectable("--remove takes no folder: a set is removed by its name.")
    pictures = remove(asked.warehouse, asked.name)
    if asked.json:
        print(json.dumps({"name": asked.name, "removed": pictures}))
    else:
        print(f"{asked.name}: {pictures} pictures are protected no more. Releases stay as they are.")
    return 0


def _register(asked: argparse.Namespace) -> int:
    from tasks.protect import Request, protect

    workers = asked.workers or os.cpu_count() or 1
    done = protect(Request(asked.name, Path(asked.folder), asked.warehouse, asked.recipe, workers))
    if asked.json:
        first = [asdict(one) for one in done.failed[:NAMED]]
        told = {"files": done.files, "failed": len(done.failed), "first_failed": first}
        print(json.dumps({**asdict(done.made), **told}))
    else:
        _tell(done, asked.warehouse)
    return 0


def _tell(done: Registered, warehouse: str) -> None:
    """What is protected now, and which files are not."""
    made = done.made
    notes = [f"{made.embedded} embedded"] if made.embedded else []
    notes += [f"{made.flat} of them flat, which only equal bytes are joined to"] if made.flat else []
    print("; ".join([f"{made.name}: {made.pictures} pictures are protected", *notes]) + ".")
    if done.failed:
        _tell_failed(done.failed)
    where = "" if warehouse == "lake" else f" --warehouse {shlex.quote(warehouse)}"
    say(f"Releases made from now on hold none of them. Next: zeromill curate LOG{where}")


def _tell_failed(failed: Sequence[Failed]) -> None:
    reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(one.reason for one in failed).most_common())
    say(f"{len(failed)} files are not protected ({reasons}):")
    for one in failed[:NAMED]:
        say(f"  {one.name}: {one.reason}: {one.detail}")
    if len(failed) > NAMED:
        say(f"  ... and {len(failed) - NAMED} more")
