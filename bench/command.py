"""Run the command as a person would, and watch it: seconds of each stage and peak memory of each process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from bench.processes import ACTOR, SAMPLE_S, look

_STEP = re.compile(r"^(?P<stage>\w+) .*\((?P<seconds>\d+\.\d) s\)$")  # tasks.progress.step
_READ = re.compile(r"^  (?P<stage>read): (\d+)/\2 parts")  # the one pool that shares its step with other work
_ACTORS_AFTER = {"ingest": "read", "sift": "fetch", "fetch": "look"}  # stage that ended -> whose actors run now


class Mark(NamedTuple):
    """The end of a stage: when its line came, and the seconds that it says of itself (0 where it says none)."""

    stage: str
    at: float
    seconds: float


@dataclass(frozen=True)
class Watched:
    """A finished command: its seconds, those of its stages in order, peak bytes by kind of process, its answer."""

    seconds: float
    stages: dict[str, float]
    peaks: dict[str, int]
    told: dict[str, Any]


class CommandFailed(Exception):
    """The command under measurement ended with an error; the message is its own."""


def run(home: Path, *words: str) -> Watched:
    """`zeromill WORDS` to its end, with a PREFECT_HOME and a Ray of its own."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *words],
        env=_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watch, said, answer = _Watch(process.pid), [""], [""]
    readers = [
        threading.Thread(target=_note, args=(process.stderr, watch.marks, said)),
        threading.Thread(target=_note, args=(process.stdout, [], answer)),
    ]
    for reader in readers:
        reader.start()
    while process.poll() is None:
        watch.sample()
        time.sleep(SAMPLE_S)
    ended = time.monotonic()
    for reader in readers:
        reader.join()
    if process.returncode != 0:
        raise CommandFailed(f"zeromill {' '.join(words)} ended with {process.returncode}: {''.join(said)[-1000:]}")
    told = json.loads("".join(answer)) if "--json" in words else {}
    return Watched(ended - began, _stages(began, watch.marks, ended), watch.peaks, told)


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("PREFECT_API_URL", "RAY_ADDRESS")}
    return kept | {"PREFECT_HOME": str(home)}


def _note(stream: IO[str], marks: list[Mark], said: list[str]) -> None:
    """Keep every line, and when each stage ended."""
    for line in stream:
        said.append(line)
        found = _STEP.match(line) or _READ.match(line)
        if found is not None:
            marks.append(Mark(found["stage"], time.monotonic(), float(found.groupdict().get("seconds", 0))))


def _stages(began: float, marks: Sequence[Mark], ended: float) -> dict[str, float]:
    """Seconds between the ends of stages: their lines come at once, and say of themselves only tenths."""
    if not marks:
        return {}
    last = marks[0].at - marks[0].seconds
    stages = {"start": last - began}
    for mark in marks:
        stages[mark.stage] = mark.at - last
        last = mark.at
    return stages | {"end": ended - last}


@dataclass
class _Watch:
    """The processes that come of one: the most that each kind of them has held, in bytes."""

    root: int
    marks: list[Mark] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)
    actors: dict[int, str] = field(default_factory=dict)

    def sample(self) -> None:
        for one in look(self.root):
            kind = self.kind(one.pid, one.name)
            self.peaks[kind] = max(self.peaks.get(kind, 0), one.peak)

    def kind(self, pid: int, name: str) -> str:
        """An actor belongs to the stage in which it was first seen: a killed one lingers into the next."""
        if pid == self.root:
            return "flow"
        if name.startswith(ACTOR):
            done = self.marks[-1].stage if self.marks else "start"
            return self.actors.setdefault(pid, f"{_ACTORS_AFTER.get(done, done)} actor")
        return "idle Ray worker" if name.startswith("ray::IDLE") else "Ray's own, the largest"
