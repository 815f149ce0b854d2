"""The address guard: what may be dialled, and that nothing else is, by any notation or detour."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.web import sockets
from actors.web.addresses import AddressBook, is_public
from actors.web.budget import Budget
from actors.web.visitor import Visitor
from filters.recipe import Fetch


def answers(*addresses: str) -> Any:
    """A resolver that knows every host at these addresses, one set of them a call."""
    left = list(addresses)

    def lookup(host: str, port: None, type: int) -> list[Any]:
        now = left.pop(0) if len(left) > 1 else left[0]
        return [
            (socket.AF_INET6, type, 0, "", (ip, 0, 0, 0)) if ":" in ip else (socket.AF_INET, type, 0, "", (ip, 0))
            for ip in now.split()
        ]

    return lookup


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been dialled; no packet leaves."""
    calls: list[Any] = []

    def refuse(endpoint: Any, timeout: float) -> Any:
        calls.append(endpoint.address[:2])
        raise ConnectionRefusedError(111, "not in a test")

    monkeypatch.setattr(sockets, "connect", refuse)
    return calls


def visit(url: str, *addresses: str, allow: tuple[str, ...] = ()) -> tuple[str | None, str | None]:
    policy = Fetch.model_validate({"retries": 0, "robots": False})
    book = AddressBook(allow, answers(*addresses)) if addresses else AddressBook(allow)
    fate, _, _ = Visitor(policy, book, Budget(1 << 20)).visit(url)
    return fate.reason, fate.detail


INSIDE = """
127.0.0.1 10.1.2.3 172.31.0.1 192.168.1.1 169.254.169.254 100.100.100.200 168.63.129.16 0.0.0.0 192.0.0.8
192.88.99.1 198.19.0.1 224.0.0.1 240.0.0.1 255.255.255.255 ::1 :: ::127.0.0.2 ::ffff:10.0.0.1 fe80::1
fec0::1 fc00::1 fd00:ec2::254 ff02::1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001:0:1::1 2001:db8::1
::ffff:0:127.0.0.1
"""


@pytest.mark.parametrize("ip", INSIDE.split())
def test_inside_addresses_are_not_public(ip: str) -> None:
    assert not is_public(ip_address(ip))


@pytest.mark.parametrize("ip", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(ip: str) -> None:
    assert is_public(ip_address(ip))


@settings(deadline=None)  # of a loaded machine
@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_when_it_is_mapped_into_ipv6(ip: Any) -> None:
    assert is_public(IPv6Address(f"::ffff:{ip}")) == is_public(ip)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a",
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://134744072/",  # the internet, but in a notation that hides it
        "http://[::ffff:127.0.0.1]/",
        "http://[::1]:8080/",
        "http://[fe80::1%25lo]/",
        "http://user:secret@example.com/",
        "http://example.com@127.0.0.1/",
        "http://localhost/",
    ],
)
def test_detours_to_the_inside_are_refused_before_dialling(url: str, dialled: list[Any]) -> None:
    reason, detail = visit(url)
    assert reason in ("fetch_forbidden_address", "fetch_failed")
    assert "secret" not in (detail or "")
    assert dialled == []


def test_one_private_address_among_public_ones_refuses_the_host(dialled: list[Any]) -> None:
    assert visit("http://both.example/", "93.184.216.34 10.0.0.5") == (
        "fetch_forbidden_address",
        "both.example is 10.0.0.5, only public addresses",
    )
    assert dialled == []


def test_what_is_dialled_is_what_was_checked_when_the_name_moves(dialled: list[Any]) -> None:
    visit("http://moves.example/", "93.184.216.34", "127.0.0.1")
    assert dialled == [("93.184.216.34", 80)]


def test_the_allow_list_exempts_one_host_and_port(dialled: list[Any]) -> None:
    allow = ("127.0.0.1:8000", "[::1]:9000")
    assert visit("http://127.0.0.1:8000/", allow=allow)[0] == "fetch_connect"
    assert visit("http://[::1]:9000/", allow=allow)[0] == "fetch_connect"
    assert dialled == [("127.0.0.1", 8000), ("::1", 9000)]
    assert visit("http://127.0.0.1:8001/", allow=allow)[0] == "fetch_forbidden_address"
    assert visit("http://alias.example:8000/", "127.0.0.1", allow=allow)[0] == "fetch_forbidden_address"
    assert len(dialled) == 2


@pytest.mark.parametrize("url", ["file:///etc/hostname", "gopher://h/1", "ftp://h/a", "data:image/png;base64,AA"])
def test_other_schemes_are_told_by_their_name(url: str, dialled: list[Any]) -> None:
    reason, detail = visit(url)
    assert (reason, dialled) == ("fetch_bad_scheme", [])
    assert detail == f"{url.split(':')[0]}, only http and https"
