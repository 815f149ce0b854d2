"""Contestants of a fetch bench, started and watched from outside: seconds, CPU of all their processes, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.errand import DONE, GO, READY, Errand
from bench.processes import Seen, Watch, cpu_s

POLL_S = 0.02


@dataclass(frozen=True)
class Used:
    """What a contestant took. Bytes are those of its largest process, and the most of all together at one moment.

    `start_s` and `start_cpu_s` are what passed before its first request, `start_cpu_s` None where nobody can tell
    them apart from the rest; then `cpu_s` is all of it.
    """

    busy_s: float
    cpu_s: float
    start_s: float
    start_cpu_s: float | None
    whole_s: float
    largest: int
    together: int
    actor: int


class ContestantFailed(Exception):
    """A contestant ended with an error, or not with every picture: there is nothing to compare."""


def held(name: str, errand: Errand, holders: int, every: Callable[[list[Seen]], None] = lambda seen: None) -> Used:
    """Run a contestant of ours, which waits between its start and its work until `holders` processes are ready."""
    words = [sys.executable, "-m", name, errand.dump()]
    out, began = Path(errand.out), time.monotonic()
    with (
        subprocess.Popen(words, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
        Watch(process.pid, every) as watch,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        while len(list(out.glob(f"{READY}.*"))) < holders:
            if process.poll() is not None:
                raise ContestantFailed(f"{name} ended with {process.returncode} before its first request")
            time.sleep(POLL_S)
        start_cpu_s, start = cpu_s(process.pid), time.monotonic()
        (out / GO).touch()
        last = process.stdout.readline()
        end, all_cpu_s = time.monotonic(), cpu_s(process.pid)
        watch.sample()
        process.stdin.close()
        if last.strip() != DONE or process.wait() != 0:
            raise ContestantFailed(f"{name} ended with {process.wait()}; what it says of it stands above")
    whole_s = time.monotonic() - began
    memory = (watch.largest, watch.together, watch.actor)
    return Used(end - start, all_cpu_s - start_cpu_s, start - began, start_cpu_s, whole_s, *memory)


def whole(words: list[str], said: Path, busy: Callable[[], tuple[float, float]]) -> Used:
    """Run a command to its end; `busy` says then between which times of the clock it was at work."""
    began, clock = time.monotonic(), time.time()
    with said.open("w") as file:
        process = subprocess.Popen(words, env=environment(), stdout=file, stderr=subprocess.STDOUT)
        with Watch(process.pid) as watch:
            _, status, usage = os.wait4(process.pid, 0)  # with all the children that it waited for
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ContestantFailed(f"{words[0]} ended with {process.returncode}: {said.read_text()[-1000:]}")
    whole_s = time.monotonic() - began
    start, end = busy()
    memory = (watch.largest, watch.together, watch.actor)
    return Used(end - start, usage.ru_utime + usage.ru_stime, start - clock, None, whole_s, *memory)


def environment() -> dict[str, str]:
    """Loopback whatever proxy there is, a Ray of its own, and no asking for newer versions."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return kept | {"no_proxy": "*", "NO_ALBUMENTATIONS_UPDATE": "1"}
