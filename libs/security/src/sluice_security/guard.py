"""Which network addresses may be dialled, decided on the address itself at the moment of dialling.

A check of names is not enough: a literal address never meets a resolver, and a name may resolve to one
address when it is checked and to another when it is dialled (DNS rebinding). aiohttp asks its connector's
`socket_factory` for a socket with the very address it is about to connect to; that is where this stands.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
AddrInfo = tuple[Any, Any, int, str, Any]

# What `is_global` lets through although it leads elsewhere or nowhere: addresses that carry another one
# (NAT64, 6to4, IPv4-compatible), relays, and what was retired or reserved.
_DENIED: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "192.88.99.0/24",
        "192.0.0.0/24",
    )
)
# The only part of IPv6 that IANA gives out for global unicast.
_GLOBAL_UNICAST = IPv6Network("2000::/3")


class AddressRefusedError(PermissionError):
    """The address is not one that may be dialled."""

    def __init__(self) -> None:
        # One text for every address, so that the connector keeps the class when it joins several.
        super().__init__("address refused")


def is_public(address: Address) -> bool:
    """Tell whether this is a unicast address of the public Internet, and not another one in disguise."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if isinstance(address, IPv6Address) and (
        address not in _GLOBAL_UNICAST or address.ipv4_mapped is not None or address.scope_id is not None
    ):
        return False
    return not any(address in network for network in _DENIED if network.version == address.version)


def is_loopback(address: Address) -> bool:
    """Tell whether this is the machine itself, in its plain spelling."""
    if isinstance(address, IPv6Address):
        return address == IPv6Address("::1") and address.scope_id is None
    return address.is_loopback


@lru_cache(maxsize=1024)
def is_loopback_host(host: str) -> bool:
    """Tell whether a URL's host names the machine itself: `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return is_loopback(ip_address(host))
    except ValueError:
        return False


def dialler(permits: Callable[[Address], bool]) -> Callable[[AddrInfo], socket.socket]:
    """Make a socket factory for aiohttp's `TCPConnector` that refuses what `permits` does not allow.

    The factory raises `AddressRefusedError`, which the connector wraps as the `os_error` of its own error.
    """

    def make(info: AddrInfo) -> socket.socket:
        family, kind, proto, _, sockaddr = info
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise AddressRefusedError
        try:
            address = ip_address(sockaddr[0])
        except ValueError:
            raise AddressRefusedError from None
        # A scope also travels as the fourth part of an IPv6 socket address.
        if (len(sockaddr) > 3 and sockaddr[3]) or not permits(address):
            raise AddressRefusedError
        return socket.socket(family, kind, proto)

    return make


def permitting(networks: tuple[Network, ...]) -> Callable[[Address], bool]:
    """Allow public addresses, and those of `networks`: an operator's own, such as a hospital's."""

    def permits(address: Address) -> bool:
        if is_public(address):
            return True
        return any(address in network for network in networks if network.version == address.version)

    return permits


def read_networks(text: str) -> tuple[Network, ...]:
    """Read networks that are separated by spaces, as settings give them.

    Raises
    ------
    ValueError
        One of them is none, or names a single address within it. The text says which, not what.
    """
    found = []
    for number, each in enumerate(text.split(), 1):
        try:
            found.append(ip_network(each))
        except ValueError:
            raise ValueError(f"network {number} is not written as one, such as 10.0.0.0/8") from None
    return tuple(found)
