"""The guarded client against real servers on this machine that misbehave."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from sluice_contracts.errors import ItemError
from sluice_security.guard_urls import Allowlist, Prefix
from sluice_security.http import GuardedClient
from support.guarded import at, failure, read
from support.hostile import HttpSource, http_source


@pytest.fixture
async def source() -> AsyncIterator[HttpSource]:
    async with http_source() as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient(loopback=True) as opened:
        yield opened


class Resolver(AbstractResolver):
    """Gives one address after the other for any name."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=0,
            )
        ]

    async def close(self) -> None:
        return None


@pytest.mark.parametrize("loopback", [True, False])
@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254"])
async def test_a_public_name_that_resolves_to_a_private_address_is_refused(
    loopback: bool, address: str
) -> None:
    place = "https://fhir.example.org/r4"
    async with GuardedClient(loopback=loopback, resolver=Resolver(address)) as client:
        failed = await failure(client, f"{place}/Patient/1", at(place))
    assert failed.code is ItemError.SOURCE_ADDRESS_REFUSED
    assert not failed.retry


async def test_a_name_is_judged_by_the_address_that_is_dialled_not_by_the_one_looked_up_before() -> None:
    resolver = Resolver("8.8.8.8", "127.0.0.1")
    assert (await resolver.resolve("fhir.example.org"))[0]["host"] == "8.8.8.8"
    place = "https://fhir.example.org"
    async with GuardedClient(resolver=resolver) as client:
        assert (await failure(client, place + "/x", at(place))).code is ItemError.SOURCE_ADDRESS_REFUSED


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::1]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "localhost",
    ],
)
async def test_a_literal_address_meets_no_resolver_and_is_refused_all_the_same(host: str) -> None:
    port = 443
    allowed = Allowlist((Prefix("https", host.strip("[]"), port, ""),))
    async with GuardedClient() as client:
        failed = await failure(client, f"https://{host}/x", allowed)
    assert failed.code is ItemError.SOURCE_ADDRESS_REFUSED


async def test_plain_http_is_refused_even_if_it_got_registered() -> None:
    allowed = Allowlist((Prefix("http", "fhir.example.org", 80, ""),))
    async with GuardedClient(loopback=True) as client:
        failed = await failure(client, "http://fhir.example.org/x", allowed)
    assert failed.code is ItemError.SOURCE_ADDRESS_REFUSED


async def test_proxies_of_the_environment_are_ignored(
    source: HttpSource, client: GuardedClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    source.on("/fhir/x", b"{}")
    assert await read(client, f"{source.base}/x", at(source.base)) == b"{}"


# -- redirects


def redirect(to: str, status: int = 302) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": to})

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_within_the_source_is_followed(
    source: HttpSource, client: GuardedClient, status: int
) -> None:
    source.on("/fhir/a", redirect("/fhir/b", status))
    source.on("/fhir/b", b"{}")
    assert await read(client, f"{source.base}/a", at(source.base)) == b"{}"


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/x",
        "https://evil.example.org/x",
        "/admin",
        "../admin",
        "//evil.example.org/fhir/x",
        "file:///etc/passwd",
        "http://user@127.0.0.1/fhir/x",
        "http://[::1",
        "",
    ],
)
async def test_a_redirect_out_of_what_is_registered_is_refused(
    source: HttpSource, client: GuardedClient, target: str
) -> None:
    source.on("/fhir/a", redirect(target))
    failed = await failure(client, f"{source.base}/a", at(source.base))
    assert (failed.code, failed.status) == (ItemError.SOURCE_ADDRESS_REFUSED, 302)
    assert [request.path for request in source.asked] == ["/fhir/a"]


async def test_a_redirect_to_a_private_address_is_refused_even_where_the_host_is_registered(
    source: HttpSource, client: GuardedClient
) -> None:
    source.on("/fhir/a", redirect("https://10.1.2.3/files/x"))
    failed = await failure(client, f"{source.base}/a", at(source.base, "https://10.1.2.3/files"))
    assert failed.code is ItemError.SOURCE_ADDRESS_REFUSED


async def test_three_hops_are_followed_and_no_fourth(source: HttpSource, client: GuardedClient) -> None:
    for hop in range(4):
        source.on(f"/fhir/{hop}", redirect(f"/fhir/{hop + 1}"))
    source.on("/fhir/4", b"{}")
    assert await read(client, f"{source.base}/1", at(source.base)) == b"{}"
    failed = await failure(client, f"{source.base}/0", at(source.base))
    assert (failed.code, failed.retry) == (ItemError.SOURCE_REJECTED, False)


async def test_credentials_stay_with_their_origin_and_do_not_come_back(client: GuardedClient) -> None:
    async with http_source() as first, http_source() as second:
        first.on("/fhir/a", redirect(f"{first.origin}/fhir/b"))
        first.on("/fhir/b", redirect(f"{second.origin}/x"))
        second.on("/x", redirect(f"{first.origin}/fhir/c"))
        first.on("/fhir/c", b"{}")
        await read(
            client,
            f"{first.base}/a",
            at(first.base, second.origin),
            headers={"Accept": "application/json"},
            credentials={"Authorization": "Bearer s", "X-Api-Key": "s"},
        )
    sent = {request.path: request.headers for request in first.asked + second.asked}
    assert [("Authorization" in sent[path], "X-Api-Key" in sent[path]) for path in sorted(sent)] == [
        (True, True),
        (True, True),
        (False, False),
        (False, False),
    ]
    assert all(headers["Accept"] == "application/json" for headers in sent.values())


async def test_a_post_is_never_sent_on(source: HttpSource, client: GuardedClient) -> None:
    source.on("/fhir/token", redirect("/fhir/b", 307))
    async with await client.post(f"{source.base}/token", at(source.base), data=b"secret") as response:
        assert response.status == 307
    assert len(source.asked) == 1


async def test_cookies_of_a_source_are_forgotten(source: HttpSource, client: GuardedClient) -> None:
    source.on("/fhir/a", b"{}", Set_Cookie="session=1")
    for _ in range(2):
        await read(client, f"{source.base}/a", at(source.base))
    assert all("Cookie" not in request.headers for request in source.asked)
