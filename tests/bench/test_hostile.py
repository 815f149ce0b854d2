"""What bench.hostile says of a bad web is what happened."""

import json
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

from bench.hostile import QUARTERS, Course
from bench.processes import ACTOR, Seen
from bench.site import DRIP, DRIP_S, STALL, serve_faulty


@cache
def _told() -> dict[str, dict[str, Any]]:
    words = [sys.executable, "-m", "bench.hostile", "--json", "--urls", "200", "--heavy", "3"]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {line["work"]: line for line in map(json.loads, said.splitlines())}


def test_a_small_run_tells_every_bound_and_every_reason_is_right() -> None:
    assert len(_told()) == 5
    assert _told()["rows with the right reason"]["ours"] == 200
    assert all(line["ratio"] > 0 for line in _told().values())


def test_an_actor_that_asks_for_large_pictures_is_seen_to_hold_them() -> None:
    heavy = next(line for work, line in _told().items() if "15 MB" in work)
    assert 45 < heavy["ours"] < 2000


def test_memory_is_told_for_each_quarter_of_the_parts(tmp_path: Path) -> None:
    course = Course(tmp_path, 4)
    for part in range(5):
        course.note([Seen(1, ACTOR, 999, 100 + part), Seen(2, ACTOR, 999, 7), Seen(3, "raylet", 999, 500)])
        (tmp_path / f"{part}.parquet").touch()
        (tmp_path / f".{part}.parquet").touch()  # under way, or its journal
    course.note([Seen(3, "raylet", 999, 500)])  # the actors have ended
    assert course.quarters() == [100 + round(4 * quarter) for quarter in QUARTERS]


def test_a_stall_answers_nothing_and_a_drip_hardly_more(tmp_path: Path) -> None:
    with serve_faulty(tmp_path, 1) as (address,):
        assert _answered(address, STALL) == b""
        head, _, body = _answered(address, DRIP).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert 2 <= len(body) <= 4


def _answered(address: str, path: str) -> bytes:
    """What has come after some drips."""
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 5) as asked:
        asked.sendall(f"GET {path}1.jpg HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(2.5 * DRIP_S)
        asked.setblocking(False)
        try:
            return asked.recv(4096)
        except BlockingIOError:
            return b""
