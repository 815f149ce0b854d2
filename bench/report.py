"""How benches tell what they measured: a line against a peer, the machine, short numbers."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from app.show import say, table
from bench.environments import EnvironmentMissing


@dataclass(frozen=True)
class Line:
    """Our figure against a peer's; `ratio` says how much better ours is, `goal` its lower bound."""

    work: str
    ours: float
    peer: float
    unit: str
    ratio: float
    goal: float


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    load = os.getloadavg()[0]
    python = platform.python_version()
    return f"{os.cpu_count()} cores {platform.machine()}, {mb(memory)}, Python {python}, load {load:.1f}"


def mb(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def tell(measured: Iterator[Line], *, as_json: bool) -> int:
    """Print each line as it comes, or a table of all at the end; 1 where a peer has no environment here, else 0."""
    lines = []
    try:
        for line in measured:
            lines.append(line)
            if as_json:
                print(json.dumps(asdict(line)), flush=True)
    except EnvironmentMissing as missing:
        say(str(missing))
        return 1
    if not as_json:
        rows = [(x.work, short(x.ours), short(x.peer), x.unit, short(x.ratio), x.goal) for x in lines]
        table(["work", "ours", "peer", "unit", "ratio", "goal"], rows)
    return 0
