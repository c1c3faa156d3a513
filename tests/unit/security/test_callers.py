"""Where a request came from, for records, and what attempts are counted by."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from sluice_security.callers import Origins


def asked(hops: str) -> tuple[str, str]:
    origins = Origins(1)
    request = make_mocked_request("GET", "/", headers={"X-Forwarded-For": hops})
    return origins(request), origins.network(request)


@pytest.mark.parametrize(
    ("hops", "address", "network"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("spoofed, 203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb:cccc:dddd:eeee", "2001:db8:1:2:bbbb:cccc:dddd:eeee", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown", "unknown"),
    ],
)
def test_attempts_of_one_ipv6_network_are_counted_together(hops: str, address: str, network: str) -> None:
    assert asked(hops) == (address, network)
