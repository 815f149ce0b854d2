"""One asks, the others wait for the answer."""

from __future__ import annotations

import asyncio

import pytest

from actors.web.failure import FetchFailure
from actors.web.memory import Memory


def test_who_asks_at_once_is_answered_by_one_question() -> None:
    async def main() -> None:
        asked: list[str] = []

        async def ask(key: str) -> str:
            asked.append(key)
            await asyncio.sleep(0.01)
            return key.upper()

        memory = Memory(ask, 60)
        assert await asyncio.gather(*(memory("a") for _ in range(50)), memory("b")) == ["A"] * 50 + ["B"]
        assert await memory("a") == "A"
        assert sorted(asked) == ["a", "b"]

    asyncio.run(main())


def test_a_failure_is_everybodys_and_a_passing_one_is_forgotten_soon() -> None:
    async def main() -> None:
        asked: list[str] = []

        async def ask(key: str) -> str:
            asked.append(key)
            raise FetchFailure("fetch_dns", key, transient=key == "soon")

        memory = Memory(ask, 60)
        for key in ("soon", "never") * 2:
            with pytest.raises(FetchFailure, match=key):
                await memory(key)
        await asyncio.sleep(0.45)
        for key in ("soon", "never"):
            with pytest.raises(FetchFailure):
                await memory(key)
        assert asked == ["soon", "never", "soon"]

    asyncio.run(main())


def test_who_goes_away_takes_the_answer_from_nobody() -> None:
    async def main() -> None:
        async def ask(key: str) -> str:
            await asyncio.sleep(0.05)
            return key.upper()

        memory = Memory(ask, 60)
        first = asyncio.create_task(memory("a"))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(memory("a"))
        await asyncio.sleep(0.01)
        first.cancel()
        assert await second == "A"

    asyncio.run(main())
