"""Lists as files: UTF-8 lines, of which comments name the list and its version."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

_HEAD = re.compile(r"#\s*(id|version)\s*:\s*(\S.*?)\s*$")


def read_list(file: Path | Traversable, called: str) -> tuple[dict[str, str], list[str]]:
    """`id` and `version` of a list, and all its lines; ValueError, which says `called`, where it has not both."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{called} cannot be read: {error}") from error
    head = {found[1]: found[2] for line in lines if (found := _HEAD.match(line))}
    if {"id", "version"} - head.keys():
        raise ValueError(f"{called} needs lines `# id: NAME` and `# version: WHEN`")
    return head, lines


def entries(lines: list[str], called: str) -> list[tuple[int, str]]:
    """The lines of a list that are neither empty nor comments, each with its number; ValueError where none is."""
    found = [(place, line) for place, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not found:
        raise ValueError(f"{called} is empty")
    return found


def names_a_file(name_or_path: str) -> bool:
    """False for a shipped list: its name has no slash and no `.tsv`."""
    return "/" in name_or_path or name_or_path.endswith(".tsv")


def list_file(kind: str, name_or_path: str) -> Traversable:
    """Where a list lies: a shipped one of this kind by its name, or a file."""
    return Path(name_or_path) if names_a_file(name_or_path) else files("recipes") / kind / f"{name_or_path}.tsv"


def shipped_lists(kind: str) -> tuple[str, ...]:
    """The names of the lists of this kind that come with Zeromill."""
    found = (file.name for file in (files("recipes") / kind).iterdir())
    return tuple(sorted(name.removesuffix(".tsv") for name in found if name.endswith(".tsv")))
