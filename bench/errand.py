"""What a contestant of a fetch bench is told, and how it and its watch wait for each other."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Job = TypeVar("Job")

READY, GO, DONE = "ready", "go", "done"
"""Two files beside what is written, and the line that is said last."""


@dataclass(frozen=True)
class Errand:
    """What one contestant is to do, as JSON among its words: a folder of Parquet files of `url`, one to write to."""

    urls: str
    out: str
    allow: tuple[str, ...]
    workers: int
    policy: str  # filters.recipe.Fetch as JSON

    def dump(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def load(text: str) -> Errand:
        told = json.loads(text)
        return Errand(**{**told, "allow": tuple(told["allow"])})

    def parts(self) -> list[Path]:
        return sorted(Path(self.urls).glob("*.parquet"))

    def ready(self) -> None:
        """Say that all is imported and built; then wait until the watch has looked at what that took."""
        Path(self.out, f"{READY}.{os.getpid()}").touch()

    def wait(self) -> None:
        while not Path(self.out, GO).exists():
            time.sleep(0.01)


class Held(Generic[Job]):
    """A tool in an actor that begins with its first job only when it is told to; then it is the tool alone.

    It lives here, where nothing else is imported, so that the actor holds what it holds in the real stage.
    """

    def __init__(self, build: Callable[[], Callable[[Job], str]], errand: Errand) -> None:
        self._tool, self._errand = build(), errand
        errand.ready()  # here, not with the first job: a short list has none for some

    def __call__(self, job: Job) -> str:
        self._errand.wait()
        return self._tool(job)


class Leash:
    """Ends this process when its watch ends, however that one ends."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        os.read(sys.stdin.fileno(), 1)  # not by sys.stdin: its lock would be held when the interpreter ends
        if not self._over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)

    def over(self) -> None:
        """Say that the last row is written, and stay until the watch has looked at what that took."""
        self._over.set()
        print(DONE, flush=True)
        self._thread.join()
