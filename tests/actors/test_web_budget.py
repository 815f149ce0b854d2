"""Bytes in flight are bounded, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from actors.web.budget import Budget


def test_many_bodies_share_the_room_and_all_get_through() -> None:
    budget, most, lock = Budget(100), 0, threading.Lock()

    def read(size: int) -> None:
        nonlocal most
        hold = budget.hold()
        for _ in range(size // 10):
            hold.take(10)
            with lock:
                most = max(most, budget.used)
            time.sleep(0.0002)
        hold.settle(size)
        hold.release()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(read, [90, 30, 60, 10] * 25))
    assert most <= 100 + 90
    assert (budget.used, budget.readers) == (0, {})


def test_a_body_larger_than_the_room_goes_alone() -> None:
    budget = Budget(10)
    hold = budget.hold()
    hold.take(50)
    waiting = threading.Thread(target=budget.hold().take, args=(5,), daemon=True)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    hold.release()
    waiting.join(2)
    assert not waiting.is_alive()
    assert budget.used == 5


def test_giving_back_twice_counts_once() -> None:
    budget = Budget(10)
    hold = budget.hold()
    hold.take(8)
    hold.settle(3)
    assert budget.used == 3
    hold.release()
    hold.release()
    assert budget.used == 0
