"""How benches tell what they measured: a line against a peer, the machine, short numbers."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass


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
