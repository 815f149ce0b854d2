"""A process in which nothing moves any more ends, whatever holds it."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, time
from actors.web.watchdog import Watchdog
dog = Watchdog(1.8)
with dog.over():
    for step in range(int(sys.argv[1])):
        time.sleep(0.3)
        dog.pat()
    if sys.argv[2] == "hang":
        time.sleep(30)
if sys.argv[2] == "idle":
    time.sleep(2.2)
print("ended by itself")
"""


def run(pats: int, then: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", SCRIPT, str(pats), then]
    return subprocess.run(words, capture_output=True, text=True, timeout=25)


def test_a_process_that_hangs_ends_and_says_where_it_stood() -> None:
    done = run(0, "hang")
    assert done.returncode == 1
    assert "Timeout" in done.stderr
    assert "ended by itself" not in done.stdout


def test_a_process_in_which_rows_are_settled_lives_longer_than_the_silence() -> None:
    done = run(9, "end")
    assert (done.returncode, done.stdout.strip()) == (0, "ended by itself")


def test_a_process_without_a_job_is_let_be() -> None:
    done = run(0, "idle")
    assert (done.returncode, done.stdout.strip()) == (0, "ended by itself")
