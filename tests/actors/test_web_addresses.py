"""The address guard: what may be asked, by any notation or detour, before anything is dialled."""

from __future__ import annotations

import pickle
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.web.addresses import AddressBook, Lookup, blocked, check, check_contact, is_public, resolve
from actors.web.failure import ContactMissing, FetchFailure
from actors.web.target import Target, onward, parse
from filters.recipe import Fetch


def answers(*addresses: str) -> Lookup:
    """A resolver that knows every host at these addresses."""

    def lookup(host: str, port: None, type: int) -> list[Any]:
        return [
            (socket.AF_INET6, type, 0, "", (ip, 0, 0, 0)) if ":" in ip else (socket.AF_INET, type, 0, "", (ip, 0))
            for ip in addresses
        ]

    return lookup


def fails(code: int) -> Lookup:
    def lookup(host: str, port: None, type: int) -> list[Any]:
        raise socket.gaierror(code, "no")

    return lookup


def said(url: str, *addresses: str, allow: tuple[str, ...] = ()) -> str:
    """Why a URL is not asked, from parsing to the addresses of its host; `ask` where it is."""
    book = AddressBook(allow)
    try:
        target = parse(url)
        book.check(target, resolve(target.host, answers(*addresses) if addresses else socket.getaddrinfo))
    except FetchFailure as failure:
        return failure.reason
    return "ask"


INSIDE = """
127.0.0.1 10.1.2.3 172.31.0.1 192.168.1.1 169.254.169.254 100.100.100.200 168.63.129.16 0.0.0.0 192.0.0.8
192.88.99.1 198.19.0.1 224.0.0.1 240.0.0.1 255.255.255.255 ::1 :: ::127.0.0.2 ::ffff:10.0.0.1 fe80::1
fec0::1 fc00::1 fd00:ec2::254 ff02::1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001:0:1::1 2001:db8::1
::ffff:0:127.0.0.1 100.64.0.1 192.0.0.170 192.0.0.192 198.51.100.7 203.0.113.9 192.31.196.1 192.52.193.1
192.175.48.1 0.1.2.3 239.255.255.250 ::ffff:169.254.169.254 ::8.8.8.8 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808
100::1 2001:2::1 2001:10::1 2001:20::1 2002:808:808:: 2620:4f:8000::1 3ffe::1 3fff::1 5f00::1 4000::1
2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:127.0.0.1
"""


@pytest.mark.parametrize("ip", INSIDE.split())
def test_inside_addresses_are_not_public(ip: str) -> None:
    assert not is_public(ip_address(ip))


@pytest.mark.parametrize(
    "ip", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2606:4700::5efe:8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(ip: str) -> None:
    assert is_public(ip_address(ip))


@settings(deadline=None)  # of a loaded machine
@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_when_it_is_mapped_into_ipv6(ip: Any) -> None:
    assert is_public(IPv6Address(f"::ffff:{ip}")) == is_public(ip)


@settings(deadline=None)  # of a loaded machine
@given(st.ip_addresses(v=4), st.integers(0, (1 << 64) - 1))
def test_no_wrapping_brings_an_inside_address_out(ip: IPv4Address, rest: int) -> None:
    inner = int(ip)
    wrapped = {
        "compatible": inner,
        "mapped": 0xFFFF << 32 | inner,
        "translated": 0xFFFF << 48 | inner,
        "nat64": 0x64FF9B << 96 | inner,
        "nat64 local": 0x64FF9B0001 << 80 | inner,
        "nat64 local /48": 0x64FF9B0001 << 80 | inner >> 16 << 64 | (inner & 0xFFFF) << 40,
        "6to4": 0x2002 << 112 | inner << 80 | rest,
        "teredo server": 0x20010000 << 96 | inner << 64 | rest,
        "teredo client": 0x20010000 << 96 | (rest & 0xFFFFFFFFFF) << 32 | (inner ^ 0xFFFFFFFF),
        "isatap": 0x26064700 << 96 | 0x5EFE << 32 | inner,
        "isatap, global": 0x26064700 << 96 | 0x02005EFE << 32 | inner,
    }
    if not is_public(ip):
        assert [kind for kind, packed in wrapped.items() if is_public(IPv6Address(packed))] == []


NOTATIONS = """
http://127.0.0.1/a http://0177.0.0.1/ http://2130706433/ http://017700000001/ http://0x7f000001/ http://0x7f.1/
http://0x7f.0x0.0x0.0x1/ http://127.1/ http://127.0.1/ http://134744072/ http://0xA9FEA9FE/ http://169.254.43518/
http://127.0.0.1./ http://1.1.1.1.1/ http://256.256.256.256/ http://09.0.0.1/ http://0/ http://０１２７.0.0.1/
http://[::ffff:127.0.0.1]/ http://[::1]:8080/ http://[fe80::1%25lo]/ http://[::]/ http://[::ffff:7f00:1]/
http://[0:0:0:0:0:ffff:a9fe:a9fe]/ http://[64:ff9b::7f00:1]/ http://[2002:7f00:1::]/ http://[::127.0.0.2]/
http://[fec0::1]/ http://192.0.0.8/ http://192.88.99.1/ http://169.254.169.254/latest/meta-data/
http://user:secret@example.com/ http://user@example.com/ http://@example.com/ http://:secret@127.0.0.1/
http://example.com@127.0.0.1/ http://8.8.8.8:80@127.0.0.1/ http://localhost/ http://LOCALHOST.:80/
"""


@pytest.mark.parametrize("url", NOTATIONS.split())
def test_detours_to_the_inside_are_refused_before_dialling(url: str) -> None:
    assert said(url) == "fetch_forbidden_address"


@pytest.mark.parametrize("place", NOTATIONS.split())
def test_a_redirect_gets_no_further_than_a_url(place: str) -> None:
    here = parse("https://h.example/a")
    for location in (place, place.removeprefix("http:")):
        with pytest.raises(FetchFailure) as caught:
            _follow(here, location.encode().decode("latin-1"))
        assert caught.value.reason == "fetch_forbidden_address"
        assert "secret" not in caught.value.detail


def _follow(here: Target, location: str) -> None:
    target = onward(here, location)
    check(target, resolve(target.host))


@pytest.mark.parametrize(
    "addresses",
    [
        ("93.184.216.34", "10.0.0.5"),
        ("10.0.0.5", "93.184.216.34"),
        ("2606:4700::1111", "::ffff:10.0.0.5"),
        ("93.184.216.34", "fe80::1%eth0"),
        ("93.184.216.34", "2606:4700::1111%eth0"),
        ("93.184.216.34", "2606:4700::1111", "64:ff9b::a00:5"),
    ],
)
def test_one_private_address_among_public_ones_refuses_the_host(addresses: tuple[str, ...]) -> None:
    assert said("http://both.example/", *addresses) == "fetch_forbidden_address"
    assert said("http://both.example:80/", *addresses, allow=("BOTH.example:80",)) == "ask"
    assert said("http://public.example/", "93.184.216.34", "2606:4700::1111") == "ask"


def test_the_refusal_names_the_host_and_its_address() -> None:
    with pytest.raises(FetchFailure, match=r"both\.example is 10\.0\.0\.5, only public addresses"):
        check(parse("http://both.example/a?secret"), ["93.184.216.34", "10.0.0.5"])


@pytest.mark.parametrize(
    ("entry", "url", "exempt"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000/", True),
        ("127.0.0.1:8000", "http://127.0.0.1:8001/", False),
        ("[::1]:9000", "http://[0:0::1]:9000/", True),
        ("[0::1]:9000", "http://[::1]:9000/", True),
        (" Mirror.Example:80 ", "http://mirror.example/a", True),
        ("mirror.example:443", "https://mirror.example/a", True),
        ("mirror.example:443", "http://mirror.example/a", False),
        ("mirror.example", "http://mirror.example/a", False),
        ("bücher.example:80", "http://xn--bcher-kva.example/a", True),
        ("mirror.example:80", "http://sub.mirror.example/a", False),
        ("127.0.0.1:8000", "http://localhost:8000/", False),
        ("user@127.0.0.1:80", "http://127.0.0.1/", False),
        ("", "http://127.0.0.1/", False),
    ],
)
def test_the_allow_list_exempts_one_host_and_port(entry: str, url: str, exempt: bool) -> None:
    assert AddressBook((entry,)).exempt(parse(url)) is exempt
    assert AddressBook(()).exempt(parse(url)) is False


@pytest.mark.parametrize("url", ["file:///etc/hostname", "gopher://h/1", "ftp://h/a", "data:image/png;base64,AA"])
def test_other_schemes_are_told_by_their_name(url: str) -> None:
    with pytest.raises(FetchFailure) as caught:
        parse(url)
    assert caught.value.reason == "fetch_bad_scheme"
    assert caught.value.detail == f"{url.split(':')[0]}, only http and https"


@pytest.mark.parametrize("host", ["h.invalid", "invalid", "a.b.onion", "x.alt"])
def test_names_that_are_never_given_out_are_not_looked_up(host: str) -> None:
    def lookup(*_: object, **__: object) -> list[Any]:
        raise AssertionError("asked")

    with pytest.raises(FetchFailure) as caught:
        resolve(host, lookup)
    assert (caught.value.reason, caught.value.transient, caught.value.later) == ("fetch_dns", False, False)


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (socket.EAI_NONAME, False),
        (getattr(socket, "EAI_NODATA", socket.EAI_NONAME), False),
        (socket.EAI_AGAIN, True),
        (socket.EAI_FAIL, True),
        (socket.EAI_SYSTEM, True),
        (socket.EAI_MEMORY, True),
    ],
)
def test_a_resolver_that_fails_says_nothing_about_the_name(code: int, again: bool) -> None:
    with pytest.raises(FetchFailure) as caught:
        resolve("h.example", fails(code))
    assert (caught.value.reason, caught.value.transient) == ("fetch_dns", again)


def test_addresses_come_once_and_in_their_order() -> None:
    assert resolve("h", answers("8.8.8.8", "2606:4700::1111", "8.8.8.8")) == ("8.8.8.8", "2606:4700::1111")
    with pytest.raises(FetchFailure, match="no address"):
        resolve("h", answers())


@pytest.mark.parametrize(
    ("keys", "url", "why"),
    [
        ({"blocked_hosts": ["*.Ads.example."]}, "http://ads.example/a", "ads.example is on the list of blocked hosts"),
        ({"blocked_hosts": ["ads.example"]}, "http://x.ads.example/a", "x.ads.example is on the list of blocked hosts"),
        ({"blocked_hosts": ["ads.example"]}, "http://bads.example/a", None),
        ({"blocked_hosts": ["10.0.0.1"]}, "http://10.0.0.1/a", "10.0.0.1 is on the list of blocked hosts"),
        ({"blocked_hosts": [""]}, "http://h/a", None),
        ({"blocked_urls": ["https://h/no/"]}, "http://h/x/../no/secret", "a URL of h on the list of blocked URLs"),
        ({"blocked_urls": ["https://h/no/"]}, "http://h/yes", None),
        ({"ports": [80, 443]}, "http://h:8080/", "port 8080 of h, only 80, 443"),
        ({"ports": [80, 443]}, "https://h/", None),
        ({"ports": []}, "https://h/", "port 443 of h, only the allow list"),
        ({}, "https://h:1/", None),
    ],
)
def test_lists_of_the_recipe_hold_for_every_hop(keys: dict[str, Any], url: str, why: str | None) -> None:
    policy = Fetch.model_validate(keys)
    assert blocked(parse(url), policy) == why
    assert blocked(parse(url), policy, exempt=True) == (why if why is None or "list of" in why else None)


def test_nobody_is_asked_without_a_contact_but_the_own_mirrors() -> None:
    target = parse("http://h.example:8080/secret?a")
    with pytest.raises(ContactMissing) as caught:
        check_contact(target, Fetch(), exempt=False)
    told = str(pickle.loads(pickle.dumps(caught.value)))  # as it comes back from an actor
    assert "h.example would be asked" in told
    assert "set fetch.contact in the recipe" in told
    assert "secret" not in told
    check_contact(target, Fetch(), exempt=True)
    check_contact(target, Fetch.model_validate({"contact": "a@example.org"}), exempt=False)
