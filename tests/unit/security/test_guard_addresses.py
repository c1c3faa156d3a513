"""Only public unicast addresses are dialled, in whatever disguise another one comes."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_security.guard import (
    AddressRefusedError,
    dialler,
    is_loopback,
    is_loopback_host,
    is_public,
    permitting,
    read_networks,
)

REFUSED = [
    "0.0.0.0",  # noqa: S104 - an address that must be refused
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.9",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1"]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_public_unicast_is_refused(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_public_unicast_is_allowed(text: str) -> None:
    assert is_public(ip_address(text))


@given(st.ip_addresses(v=4, network="127.0.0.0/8") | st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_no_disguise_of_a_refused_ipv4_address_is_public(address: IPv4Address) -> None:
    inside = int(address)
    disguises: list[IPv4Address | IPv6Address] = [
        address,
        IPv6Address(inside),
        IPv6Address(0xFFFF << 32 | inside),
        IPv6Address(0x64FF9B << 96 | inside),
        IPv6Address(0x2002 << 112 | inside << 80),
        IPv6Address(0x20010000 << 96 | inside),
    ]
    assert not any(is_public(disguise) for disguise in disguises)


@given(st.ip_addresses(v=6))
def test_a_public_ipv6_address_is_global_unicast(address: IPv6Address) -> None:
    if is_public(address):
        assert address in ip_network("2000::/3")
        assert address.is_global
        assert not address.is_multicast
        assert address.ipv4_mapped is None
        assert address.sixtofour is None


def test_a_scoped_address_is_refused() -> None:
    assert not is_public(IPv6Address("2606:4700::1%eth0"))
    assert not is_loopback(IPv6Address("::1%lo"))


def test_only_the_machine_itself_is_loopback() -> None:
    assert is_loopback_host("localhost")
    assert is_loopback_host("127.0.0.1")
    assert is_loopback_host("::1")
    for host in ("localhost.example.org", "192.168.0.1", "::ffff:127.0.0.1", "2130706433", "10.0.0.1", ""):
        assert not is_loopback_host(host)


@pytest.mark.parametrize("text", REFUSED)
def test_the_dialler_makes_no_socket_for_a_refused_address(text: str) -> None:
    make = dialler(permitting(()))
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    sockaddr = (text, 443, 0, 0) if ":" in text else (text, 443)
    with pytest.raises(AddressRefusedError):
        make((family, socket.SOCK_STREAM, 0, "", sockaddr))


def test_the_dialler_makes_a_socket_for_a_public_address() -> None:
    with dialler(permitting(()))((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 443))) as made:
        assert made.family == socket.AF_INET


@pytest.mark.parametrize(
    "info",
    [
        (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/tmp/x"),
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("example.org", 443)),
        (socket.AF_INET6, socket.SOCK_STREAM, 0, "", ("2606:4700::1111", 443, 0, 2)),
    ],
)
def test_the_dialler_refuses_what_is_no_plain_address(info: tuple[object, ...]) -> None:
    with pytest.raises(AddressRefusedError):
        dialler(permitting(()))(info)  # type: ignore[arg-type]


def test_an_operators_own_network_is_allowed_and_nothing_beside_it() -> None:
    permits = permitting((IPv4Network("10.20.0.0/16"),))
    assert permits(ip_address("10.20.3.4"))
    assert not permits(ip_address("10.21.0.1"))
    assert not permits(ip_address("::ffff:10.20.3.4"))
    assert permits(ip_address("8.8.8.8"))


def test_networks_are_read_from_a_setting_and_a_host_within_one_is_refused() -> None:
    assert read_networks("10.20.0.0/16  fd00::/8") == (ip_network("10.20.0.0/16"), ip_network("fd00::/8"))
    assert read_networks("") == ()
    with pytest.raises(ValueError, match="network 1"):
        read_networks("10.20.0.1/16")
