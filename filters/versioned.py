"""Lists as files: UTF-8 lines, of which comments name the list and its version."""

import re
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
