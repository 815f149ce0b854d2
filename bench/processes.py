"""What a process and all that come of it have used, seen from outside, by /proc."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_S = 0.25
"""Between two looks. The kernel keeps each process's peak; only what grew after the last look is lost."""

ACTOR = "ray::_Worker"

_MEMORY = re.compile(r"^(VmHWM|RssAnon):\s+(\d+) kB", re.MULTILINE)
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Seen:
    """A process at one moment: `peak` is the most it ever held, `own` what it holds and shares with no file."""

    pid: int
    name: str
    peak: int
    own: int


def tree(root: int) -> list[int]:
    """The process and all that come of it; only itself where there is no /proc."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just ended
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def look(root: int) -> list[Seen]:
    """Every process of the tree that has memory, in bytes."""
    seen = []
    for pid in tree(root):
        try:
            name = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            memory = dict(_MEMORY.findall(Path(f"/proc/{pid}/status").read_text()))
        except OSError:
            continue
        if memory:
            seen.append(Seen(pid, name, int(memory["VmHWM"]) << 10, int(memory["RssAnon"]) << 10))
    return seen


def own_peak() -> int:
    """The most memory that this very process held, in bytes: its `ru_maxrss` begins with what its parent held."""
    return next(seen.peak for seen in look(os.getpid()) if seen.pid == os.getpid())


def cpu_s(root: int) -> float:
    """User and system time of the tree so far, with that of its children that ended and were waited for."""
    ticks = 0
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks * _TICK_S


@dataclass
class Watch:
    """Looks at a tree again and again, in a thread, from `with` to the end of its block."""

    root: int
    every: Callable[[list[Seen]], None] = lambda seen: None
    largest: int = 0  # the most that one process held
    together: int = 0  # the most that all held at once, of their own
    actor: int = 0  # the most that one Ray actor held
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *told: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.sample()

    def sample(self) -> None:
        seen = look(self.root)
        self.largest = max([self.largest, *(one.peak for one in seen)])
        self.actor = max([self.actor, *(one.peak for one in seen if one.name.startswith(ACTOR))])
        self.together = max(self.together, sum(one.own for one in seen))
        self.every(seen)
