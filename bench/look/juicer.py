"""Data-Juicer's operators over the pictures of the bench, in its own environment, as fast as it goes here."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.environments import DATA_JUICER
from bench.watched import ContestantFailed

SCRIPT = Path(__file__).with_name("operators.py")

_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "DO_NOT_TRACK": "1"}


@dataclass(frozen=True)
class Juiced:
    """Seconds of each operator, pictures that were left, and the package's version."""

    seconds: dict[str, float]
    left: int
    version: str

    @property
    def whole(self) -> float:
        return sum(self.seconds.values())


def juice(files: Sequence[Path], processes: int, fused: bool, folder: Path) -> Juiced:
    """Run the operators once over `files` with a cache of their own in `folder`; their own time, not the start."""
    listed = folder / "files.txt"
    listed.write_text("\n".join(map(str, files)))
    errand = json.dumps({"files": str(listed), "processes": processes, "fused": fused})
    words = [DATA_JUICER.python(), "-P", str(SCRIPT), errand]
    cache = {"HF_HOME": str(folder / "hub"), "DATA_JUICER_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder)}
    ran = subprocess.run(words, env={**os.environ, **_OFFLINE, **cache}, capture_output=True, text=True)
    if ran.returncode != 0:
        raise ContestantFailed(f"Data-Juicer ended with {ran.returncode}: {ran.stderr[-1000:]}")
    told = json.loads(ran.stdout.splitlines()[-1])
    return Juiced(told["seconds"], told["left"], told["version"])
