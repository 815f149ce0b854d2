"""A dead resolver is told from dead hosts."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.web import FetchJob
from actors.web.addresses import AddressBook
from actors.web.failure import FetchFailure
from actors.web.names import Names
from actors.web.outage import Line, Outage
from actors.web.target import Target


class Resolver:
    """Knows hosts that begin with `up`, has no answer for those that begin with `dead`, and can be down."""

    def __init__(self) -> None:
        self.down = False
        self.asked: list[str] = []

    def __call__(self, host: str, port: None, type: int) -> list[Any]:
        self.asked.append(host)
        if self.down or host.startswith("dead"):
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        if host.startswith("none"):
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return [(socket.AF_INET, type, 0, "", ("8.8.8.8", 0))]


def target(host: str) -> Target:
    return Target("http", host, 80, "/")


def test_hosts_that_have_no_answer_are_dead_while_others_have_one() -> None:
    async def main() -> None:
        names = Names(AddressBook(()), 0.1, Resolver())
        await names.addresses(target("up.example"))
        for number in range(8):
            with pytest.raises(FetchFailure) as failure:
                await names.addresses(target(f"dead{number}.example"))
            assert (failure.value.reason, failure.value.later) == ("fetch_dns", True)

    asyncio.run(main())


def test_a_resolver_that_is_down_for_a_while_costs_no_host_its_answer() -> None:
    async def main() -> None:
        resolver = Resolver()
        names = Names(AddressBook(()), 30, resolver)
        await names.addresses(target("up.example"))
        resolver.down = True
        asyncio.get_running_loop().call_later(1.0, lambda: setattr(resolver, "down", False))
        found = await asyncio.gather(*(names.addresses(target(f"up{number}.example")) for number in range(20)))
        assert found == [("8.8.8.8",)] * 20

    asyncio.run(main())


@pytest.mark.parametrize("answered_before", [True, False])
def test_a_resolver_that_stays_down_is_an_outage_and_no_fault_of_hosts(answered_before: bool) -> None:
    async def main() -> None:
        resolver = Resolver()
        names = Names(AddressBook(()), 0.2, resolver)
        if answered_before:
            await names.addresses(target("up.example"))
        resolver.down = True
        found = await asyncio.gather(
            *(names.addresses(target(f"up{number}.example")) for number in range(20)), return_exceptions=True
        )
        assert {type(one) for one in found} == {Outage}
        assert "resolver" in str(found[0])

    asyncio.run(main())


def test_dead_hosts_alone_are_believed_where_somebody_vouches_for_the_resolver() -> None:
    async def main() -> None:
        names = Names(AddressBook(()), 0.1, Resolver())
        names.vouch(target("up.example"))
        found = await asyncio.gather(
            *(names.addresses(target(f"dead{number}.example")) for number in range(9)), return_exceptions=True
        )
        assert {type(one) for one in found} == {FetchFailure}

    asyncio.run(main())


def test_one_dead_host_of_a_short_log_is_believed_soon() -> None:
    async def main() -> None:
        names, began = Names(AddressBook(()), 60, Resolver()), time.monotonic()
        with pytest.raises(FetchFailure):
            await names.addresses(target("dead.example"))
        assert time.monotonic() - began < 5

    asyncio.run(main())


def test_that_there_is_no_such_host_is_an_answer() -> None:
    async def main() -> None:
        resolver = Resolver()
        names = Names(AddressBook(()), 0.1, resolver)
        for number in range(8):
            with pytest.raises(FetchFailure, match="no such host"):
                await names.addresses(target(f"none{number}.example"))
        assert len(resolver.asked) == 8

    asyncio.run(main())


def test_a_lookup_that_never_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.web.names.LOOKUP_S", 0.2)
    go_on = []

    def hangs(host: str, port: None, type: int) -> list[Any]:
        while not go_on:
            time.sleep(0.05)
        return []

    async def main() -> None:
        with pytest.raises(FetchFailure, match=r"no answer in 0\.2 s"):
            await Names(AddressBook(()), 0, hangs).addresses(target("up.example"))
        go_on.append(True)

    asyncio.run(main())


def test_an_answer_before_the_line_went_down_says_nothing_of_a_failure_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.web.outage.PROBE_S", 0.1)

    async def main() -> None:
        async def ask(_: str) -> bool:
            return False

        line: Line[str] = Line("The line", ask, 0.2)
        since = time.monotonic()
        line.heard("witness")
        await asyncio.sleep(0.15)
        with pytest.raises(Outage):
            await line.believe("h", since)

    asyncio.run(main())


def test_who_asks_while_the_line_is_up_again_asks_anew() -> None:
    async def main() -> None:
        up = [False]

        async def ask(_: str) -> bool:
            return up[0]

        line: Line[str] = Line("The line", ask, 30)
        line.heard("witness")
        since = time.monotonic()
        believed = [asyncio.create_task(line.believe(f"h{number}", since)) for number in range(3)]
        await asyncio.sleep(0.05)
        up[0] = True
        assert (await asyncio.wait_for(believed[0], 10)) is False

    asyncio.run(main())


def test_a_job_in_an_outage_writes_no_part_and_forgets_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    from actors.web import Fetcher
    from filters.recipe import Fetch

    resolver.down = True
    pq.write_table(pa.table({"url": [f"http://up{n}.example/a.jpg" for n in range(40)]}), tmp_path / "urls.parquet")
    policy = Fetch(outage_wait_s=0.2, contact="https://example.org/bot")
    with pytest.raises(Outage):
        Fetcher(policy, ())(FetchJob(str(tmp_path / "urls.parquet"), str(tmp_path / "part.parquet")))
    assert not (tmp_path / "part.parquet").exists()
    assert not (tmp_path / ".part.parquet.refusals").read_bytes()
