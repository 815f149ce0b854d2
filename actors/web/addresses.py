"""Which network addresses may be dialled, and which of them a host has."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from actors.web.failure import FetchFailure
from actors.web.memory import Memory
from actors.web.target import Target

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
# Of IPv6 only the global unicast block is dialled, without the forms that hide another address (Teredo in
# 2001::/23, 6to4 in 2002::/16) and documentation
GLOBAL_V6 = IPv6Network("2000::/3")
DENIED_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")))
# How machines that have IPv6 only reach IPv4 (RFC 6052): the address inside decides
NAT64 = IPv6Network("64:ff9b::/96")

DNS_KEEP_S = 300.0


@dataclass(frozen=True)
class Endpoint:
    """An address that was checked, in the form that `socket.connect` takes."""

    family: int
    address: tuple[Any, ...]


def is_public(ip: Address) -> bool:
    """Whether an address belongs to the public internet, and so to nobody's inside."""
    if isinstance(ip, IPv6Address):
        inside = ip.ipv4_mapped
        if inside is None and ip in NAT64:
            inside = IPv4Address(int(ip) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(inside)
        return ip in GLOBAL_V6 and ip.is_global and not any(ip in net for net in DENIED_V6)
    return ip.is_global and not ip.is_multicast and not any(ip in net for net in DENIED_V4)


class AddressBook:
    """Resolves a host once, and refuses it when any of its addresses is not public.

    `allow` names HOST:PORT pairs, as URLs write them, that are exempt: private mirrors.
    """

    def __init__(self, allow: Iterable[str], lookup: Lookup = socket.getaddrinfo) -> None:
        self._allow = frozenset(entry.strip().lower() for entry in allow)
        self._lookup = lookup
        self._addresses: Memory[str, tuple[tuple[int, tuple[Any, ...]], ...]] = Memory(self._resolve, DNS_KEEP_S)

    def endpoints(self, target: Target) -> list[Endpoint]:
        """The checked addresses of a target, best first.

        Raises FetchFailure: fetch_dns, fetch_forbidden_address.
        """
        found = self._addresses(target.host)
        if not self.exempt(target):
            for _, address in found:
                self._check(target, str(address[0]))
        return [Endpoint(family, (address[0], target.port, *address[2:])) for family, address in found]

    def exempt(self, target: Target) -> bool:
        """Whether the recipe's owner vouches for this host and port."""
        host = f"[{target.host}]" if ":" in target.host else target.host
        return f"{host}:{target.port}" in self._allow

    def _check(self, target: Target, address: str) -> None:
        if "%" in address or not is_public(ip_address(address)):
            shown = address if address == target.host else f"{target.host} is {address}"
            raise FetchFailure("fetch_forbidden_address", f"{shown}, only public addresses")

    def _resolve(self, host: str) -> tuple[tuple[int, tuple[Any, ...]], ...]:
        try:
            infos = self._lookup(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as err:
            again = getattr(err, "errno", None) == socket.EAI_AGAIN
            detail = f"{host}: {'no answer for now' if again else 'no such host'}"
            raise FetchFailure("fetch_dns", detail, transient=again) from None
        found = tuple(dict.fromkeys((int(info[0]), tuple(info[4])) for info in infos))
        if not found:
            raise FetchFailure("fetch_dns", f"{host}: no address")
        return found
