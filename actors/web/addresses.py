"""Who may be asked: which network addresses, which hosts, ports and URLs, and with whose leave."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from actors.web.failure import ContactMissing, FetchFailure
from actors.web.target import Target, parse
from filters.blocked import BlockedUrls, ascii_host
from filters.recipe import Fetch

Address = IPv4Address | IPv6Address
Lookup = Callable[..., list[Any]]

# IANA's special-purpose registries, kept here because `is_global` differs between versions of Python (3.11
# passes 192.0.0.8 and 192.88.99.1), and 168.63.129.16, a public address behind which a cloud answers its own
# machines.
DENIED_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)
# Of IPv6 only the global unicast block is dialled, without documentation and without the forms whose other end is
# somebody else (Teredo in 2001::/23, 6to4 in 2002::/16). What lies outside of the block is refused with it:
# IPv4-compatible ::/96, the local-use NAT64 prefix 64:ff9b:1::/48, fec0::/10, fc00::/7, fe80::/10, ff00::/8.
GLOBAL_V6 = IPv6Network("2000::/3")
DENIED_V6 = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20"))
)
# How machines that have IPv6 only reach IPv4 (RFC 6052): the address inside decides
NAT64 = IPv6Network("64:ff9b::/96")
# RFC 5214: the upper half of an interface identifier that an IPv4 address follows
ISATAP = frozenset({0x00005EFE, 0x02005EFE})

# RFC 6761 6.4, RFC 7686, RFC 9476: no name server is to be asked about these
NAMELESS = frozenset({"invalid", "onion", "alt"})
# What says that a name is none; all else that goes wrong is about the resolver or the moment
NO_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None), getattr(socket, "EAI_ADDRFAMILY", None)})


def is_public(ip: Address) -> bool:
    """Whether an address belongs to the public internet, and so to nobody's inside."""
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast and not any(ip in net for net in DENIED_V4)
    low = IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.ipv4_mapped is not None or ip in NAT64:
        return is_public(low)
    if int(ip) >> 32 & 0xFFFFFFFF in ISATAP and not is_public(low):
        return False
    return ip in GLOBAL_V6 and ip.is_global and not any(ip in net for net in DENIED_V6)


def check(target: Target, addresses: Iterable[str]) -> None:
    """Refuses a host of which any address is not public. Raises FetchFailure fetch_forbidden_address."""
    for address in addresses:
        if "%" in address or not is_public(ip_address(address)):
            shown = address if address == target.host else f"{target.host} is {address}"
            raise FetchFailure("fetch_forbidden_address", f"{shown}, only public addresses")


def resolve(host: str, lookup: Lookup = socket.getaddrinfo) -> tuple[str, ...]:
    """The addresses of a host, best first; may block. Raises FetchFailure fetch_dns."""
    if host.rpartition(".")[2] in NAMELESS:
        raise FetchFailure("fetch_dns", f"{host}: a name that is never given out")
    try:
        infos = lookup(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise FetchFailure("fetch_dns", f"{host}: no such host") from None
    except OSError as err:
        again = err.errno not in NO_NAME
        detail = f"{host}: {'no answer for now' if again else 'no such host'}"
        raise FetchFailure("fetch_dns", detail, transient=again, later=True) from None
    found = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
    if not found:
        raise FetchFailure("fetch_dns", f"{host}: no address")
    return found


class AddressBook:
    """Which addresses a target may have.

    `allow` names HOST:PORT pairs, as URLs write them, for which the recipe's owner vouches: private mirrors.
    """

    def __init__(self, allow: Iterable[str]) -> None:
        self._allow = frozenset(map(_place, allow))

    def exempt(self, target: Target) -> bool:
        """Whether a target needs no public address, no contact, no listed port and no pace."""
        return (target.host, target.port) in self._allow

    def check(self, target: Target, addresses: Iterable[str]) -> None:
        """Refuses a host of which any address is not public, unless it is exempt. Raises FetchFailure."""
        if not self.exempt(target):
            check(target, addresses)


def blocked(target: Target, policy: Fetch, exempt: bool = False) -> str | None:
    """Why the recipe keeps a target, or the next hop of a redirect, from being asked; None where it does not.

    `exempt`: it is on the allow list, which frees it of the ports only.
    """
    labels = target.host.split(".") if policy.blocked_hosts else []
    if not _hosts(policy.blocked_hosts).isdisjoint(".".join(labels[start:]) for start in range(len(labels))):
        return f"{target.host} is on the list of blocked hosts"
    if policy.blocked_urls and _urls(policy.blocked_urls).shut(target.url):
        return f"a URL of {target.host} on the list of blocked URLs"
    if policy.ports is not None and target.port not in policy.ports and not exempt:
        return f"port {target.port} of {target.host}, only {', '.join(map(str, policy.ports)) or 'the allow list'}"
    return None


def check_contact(target: Target, policy: Fetch, exempt: bool) -> None:
    """Stops a run that would ask strangers without saying who asks. Raises ContactMissing."""
    if policy.contact is None and not exempt:
        raise ContactMissing(target.host)


@lru_cache(maxsize=8)
def _hosts(entries: tuple[str, ...]) -> frozenset[str]:
    return frozenset(ascii_host(entry.strip().removeprefix("*.").strip(".")) for entry in entries) - {""}


@lru_cache(maxsize=8)
def _urls(prefixes: tuple[str, ...]) -> BlockedUrls:
    return BlockedUrls(prefixes)


def _place(entry: str) -> tuple[str, int]:
    """Host and port of an entry; what is no HOST:PORT is a place where nobody is."""
    entry = entry.strip()
    try:
        target = parse(f"http://{entry}/")
    except FetchFailure:
        return entry, 0
    return (target.host, target.port) if entry.endswith(f":{target.port}") else (entry, 0)
