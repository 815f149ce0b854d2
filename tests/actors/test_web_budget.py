"""Bytes in flight are bounded, and nobody waits for ever."""

from __future__ import annotations

import asyncio

from actors.web.budget import Budget, Hold


async def take(hold: Hold, count: int) -> None:
    """Room for `count` bytes, as an exchange asks for it."""
    while True:
        room = asyncio.Event()
        if hold.take(count, room.set):
            return
        await room.wait()


def test_many_bodies_share_the_room_and_all_get_through() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        budget, most = Budget(100, loop.call_soon_threadsafe), 0

        async def read(size: int) -> None:
            nonlocal most
            hold = budget.hold()
            for _ in range(size // 10):
                await take(hold, 10)
                most = max(most, budget.used)
                await asyncio.sleep(0)
            hold.settle(size)
            await loop.run_in_executor(None, hold.release)  # as the writing thread does

        await asyncio.wait_for(asyncio.gather(*map(read, [90, 30, 60, 10] * 25)), 30)
        assert (budget.used, budget.settled, budget.readers, budget.waiting) == (0, 0, {}, {})
        return most

    assert asyncio.run(main()) <= 100 + 90


def test_a_body_larger_than_the_room_goes_alone() -> None:
    async def main() -> None:
        budget = Budget(10, asyncio.get_running_loop().call_soon_threadsafe)
        hold = budget.hold()
        await take(hold, 50)
        waiting = asyncio.create_task(take(budget.hold(), 5))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        hold.release()
        await asyncio.wait_for(waiting, 2)
        assert budget.used == 5

    asyncio.run(main())


def test_the_oldest_reader_goes_on_where_nothing_is_on_its_way_to_disk() -> None:
    async def main() -> None:
        budget = Budget(10, asyncio.get_running_loop().call_soon_threadsafe)
        old, young = budget.hold(), budget.hold()
        await take(old, 5)
        await take(young, 5)
        blocked = asyncio.create_task(take(young, 5))
        await asyncio.wait_for(take(old, 5), 2)
        await asyncio.sleep(0.01)
        assert not blocked.done()
        old.release()
        await asyncio.wait_for(blocked, 2)

    asyncio.run(main())


def test_giving_back_twice_counts_once() -> None:
    budget = Budget(10, lambda call: call())
    hold = budget.hold()
    assert hold.take(8, lambda: None)
    hold.settle(3)
    assert budget.used == 3
    hold.release()
    hold.release()
    assert budget.used == 0
