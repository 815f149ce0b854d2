"""What a part begun anew need not ask again: the fates without bytes of a killed actor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from actors.web.visitor import Fate


class Journal:
    """JSON lines in a file beside the part, one per URL settled without bytes; gone when the part stands.

    A line is written in one go as soon as the fate is known, so a killed process leaves all but its last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known: dict[str | None, Fate] = dict(_read(path)) if path.exists() else {}
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()

    def add(self, url: str | None, fate: Fate) -> None:
        """Remembers a fate that brought no bytes. Those that did are asked for again: their bytes are lost."""
        if fate.reason is not None:
            line = json.dumps({"url": url, **asdict(fate), "fetched_at": fate.fetched_at.isoformat()})
            # the newline in front parts it from what a killed process wrote half
            self._file.write(f"\n{line}\n".encode())

    def close(self) -> None:
        self._file.close()

    def remove(self) -> None:
        """The part stands: nothing of it will be asked again."""
        self._path.unlink()


def _read(path: Path) -> Iterator[tuple[str | None, Fate]]:
    for line in path.read_bytes().splitlines():
        try:
            fields = json.loads(line)
            url = fields.pop("url")
            yield url, Fate(**fields | {"fetched_at": datetime.fromisoformat(fields["fetched_at"])})
        except (ValueError, TypeError, KeyError):
            continue  # cut off in the middle
