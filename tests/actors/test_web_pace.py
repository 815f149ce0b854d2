"""How hard one host is asked."""

from __future__ import annotations

import asyncio
import time

from actors.web.pace import Pace


def test_one_host_has_so_many_requests_at_once_and_the_others_do_not_wait_for_it() -> None:
    async def main() -> None:
        pace, now, most = Pace(3, rate=1e9), 0, 0
        go_on = asyncio.Event()

        async def ask(host: str) -> None:
            nonlocal now, most
            async with pace.turn(host, rated=False):
                if host == "slow.example":
                    now += 1
                    most = max(most, now)
                    await go_on.wait()
                    now -= 1

        slow = [asyncio.create_task(ask("slow.example")) for _ in range(10)]
        await asyncio.wait_for(ask("other.example"), 1)
        assert (now, most) == (3, 3)
        go_on.set()
        await asyncio.wait_for(asyncio.gather(*slow), 5)
        assert most == 3

    asyncio.run(main())


def test_requests_to_one_host_begin_no_faster_than_its_rate() -> None:
    async def main() -> None:
        pace, began = Pace(100, rate=50), time.monotonic()
        starts: list[float] = []

        async def ask(rated: bool) -> None:
            async with pace.turn("h.example", rated=rated):
                starts.append(time.monotonic() - began)

        await asyncio.gather(*(ask(rated=True) for _ in range(11)))
        assert starts[-1] >= 10 / 50 - 0.005
        before = time.monotonic()
        await asyncio.gather(*(ask(rated=False) for _ in range(90)))
        assert time.monotonic() - before < 1.0  # 90 of them would take 1.8 s

    asyncio.run(main())


def test_hosts_that_nobody_asks_are_forgotten() -> None:
    async def main() -> int:
        pace = Pace(1, rate=1e9)
        for number in range(20_050):
            async with pace.turn(f"h{number}.example", rated=True):
                pass
        return len(pace._hosts)

    assert asyncio.run(main()) <= 20_000
