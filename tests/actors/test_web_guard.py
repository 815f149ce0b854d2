"""The guard as a whole: whatever a URL, a resolver or a redirect says, nothing inside is dialled."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

from actors.web import sockets
from actors.web.addresses import AddressBook
from actors.web.budget import Budget
from actors.web.failure import ContactMissing
from actors.web.names import Names
from actors.web.outage import Outage
from actors.web.pace import Pace
from actors.web.visitor import Fate, Visitor
from filters.recipe import Fetch

CONTACT = "https://example.org/bot"


def answers(*calls: str) -> Any:
    """A resolver that knows every host at these addresses, one set of them a call."""
    left = list(calls)

    def lookup(host: str, port: None, type: int) -> list[Any]:
        now = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6, type, 0, "", (ip, 0, 0, 0)) if ":" in ip else (socket.AF_INET, type, 0, "", (ip, 0))
            for ip in now.split()
        ]

    return lookup


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been dialled; no packet leaves."""
    calls: list[str] = []

    def refuse(family: int, address: tuple[Any, ...]) -> int:
        calls.append(address[0])
        raise ConnectionRefusedError(errno.ECONNREFUSED, "not in a test")

    monkeypatch.setattr(sockets, "open_socket", refuse)
    return calls


def visit(url: str, *calls: str, allow: tuple[str, ...] = (), **policy: Any) -> Fate:
    async def main() -> Fate:
        chosen = Fetch.model_validate({"retries": 0, "robots": False, "contact": CONTACT, "outage_wait_s": 0} | policy)
        names = Names(AddressBook(allow), chosen.outage_wait_s, answers(*calls) if calls else socket.getaddrinfo)
        budget = Budget(1 << 20, asyncio.get_running_loop().call_soon_threadsafe)
        fate, _, _ = await Visitor(chosen, names, Pace(4, 100), budget).visit(url)
        return fate

    return asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.jpg",
        "http://0177.0.0.1/a.jpg",
        "http://2130706433/a.jpg",
        "http://0x7f.1/a.jpg",
        "http://0x7f000001/a.jpg",
        "http://127.1/a.jpg",
        "http://localhost/a.jpg",
        "http://[::1]/a.jpg",
        "http://[::ffff:10.0.0.1]/a.jpg",
        "http://[::ffff:a00:1]/a.jpg",
        "http://[64:ff9b::7f00:1]/a.jpg",
        "http://[2002:7f00:1::]/a.jpg",
        "http://[fe80::1%25eth0]/a.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://user:secret@example.com/a.jpg",
        "http://user@8.8.8.8/a.jpg",
    ],
)
def test_no_notation_of_an_inside_address_is_dialled(url: str, dialled: list[str]) -> None:
    fate = visit(url)
    assert fate.reason == "fetch_forbidden_address"
    assert "secret" not in str(fate.detail)
    assert dialled == []


@pytest.mark.parametrize(
    "addresses", ["10.0.0.1", "8.8.8.8 10.0.0.1", "10.0.0.1 8.8.8.8", "::ffff:127.0.0.1", "8.8.8.8 fe80::1"]
)
def test_a_host_with_one_inside_address_is_not_dialled_at_all(addresses: str, dialled: list[str]) -> None:
    assert visit("http://h.example/a.jpg", addresses).reason == "fetch_forbidden_address"
    assert dialled == []


def test_what_was_checked_is_what_is_dialled_however_the_resolver_changes_its_mind(dialled: list[str]) -> None:
    fate = visit("http://h.example/a.jpg", "8.8.8.8", "127.0.0.1")
    assert (fate.reason, fate.detail) == ("fetch_connect", "ECONNREFUSED")
    assert dialled == ["8.8.8.8"]


def test_a_retry_dials_what_was_checked_too(dialled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(family: int, address: tuple[Any, ...]) -> int:
        dialled.append(address[0])
        raise OSError(errno.ECONNABORTED, "not in a test")

    monkeypatch.setattr(sockets, "open_socket", unreachable)
    assert visit("http://h.example/a.jpg", "8.8.8.8", "127.0.0.1", retries=1).attempts == 2
    assert set(dialled) == {"8.8.8.8"}


def test_an_allowed_host_is_allowed_at_its_port_only(dialled: list[str]) -> None:
    assert visit("http://127.0.0.1:8080/a.jpg", allow=("127.0.0.1:8080",)).reason == "fetch_connect"
    assert visit("http://127.0.0.1:8081/a.jpg", allow=("127.0.0.1:8080",)).reason == "fetch_forbidden_address"
    assert dialled == ["127.0.0.1"]


def test_a_stranger_is_not_asked_without_a_contact(dialled: list[str]) -> None:
    with pytest.raises(ContactMissing, match=r"h\.example"):
        visit("http://h.example/a.jpg", "8.8.8.8", contact=None)
    assert dialled == []


def test_ports_and_urls_that_the_recipe_shuts_are_not_dialled(dialled: list[str]) -> None:
    shut = {"ports": (80, 443), "blocked_urls": ("http://h.example/private/",)}
    assert visit("http://h.example:22/a.jpg", "8.8.8.8", **shut).reason == "fetch_forbidden_address"
    assert visit("http://h.example/private/a.jpg", "8.8.8.8", **shut).reason == "fetch_forbidden_address"
    assert dialled == []


def test_proxies_of_the_environment_do_not_dial_for_us(dialled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:3128")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:3128")
    assert visit("http://h.example/a.jpg", "8.8.8.8").reason == "fetch_connect"
    assert dialled == ["8.8.8.8"]


def test_names_that_are_never_given_out_are_final_and_ask_no_resolver(dialled: list[str]) -> None:
    fate = visit("http://h.invalid/a.jpg", "8.8.8.8")
    assert (fate.reason, fate.transient, dialled) == ("fetch_dns", False, [])


def test_an_uplink_that_is_down_stops_the_job_and_marks_nothing_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_route(family: int, address: tuple[Any, ...]) -> int:
        raise OSError(errno.ENETUNREACH, "no route")

    monkeypatch.setattr(sockets, "open_socket", no_route)

    async def main() -> None:
        policy = Fetch.model_validate({"retries": 0, "robots": False, "contact": CONTACT, "outage_wait_s": 0.1})
        names = Names(AddressBook(()), policy.outage_wait_s, socket.getaddrinfo)
        budget = Budget(1 << 20, asyncio.get_running_loop().call_soon_threadsafe)
        visitor = Visitor(policy, names, Pace(4, 100), budget)
        await asyncio.gather(*(visitor.visit(f"http://8.8.8.{n}/a.jpg") for n in range(1, 6)))

    with pytest.raises(Outage, match="uplink"):
        asyncio.run(main())
