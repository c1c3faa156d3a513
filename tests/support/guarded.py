"""Asking a source through the guarded client, as the tests of either side of it do."""

from __future__ import annotations

from typing import Any

import pytest

from sluice_contracts.errors import ItemError
from sluice_security.guard_urls import Allowlist, Prefix
from sluice_security.http import GuardedClient, SourceFailure


def at(*places: str) -> Allowlist:
    """Allow these places."""
    return Allowlist([Prefix.parse(place, loopback=True) for place in places])


async def read(client: GuardedClient, url: str, allowed: Allowlist, **more: Any) -> bytes:
    """GET and read."""
    async with await client.get(url, allowed, **more) as response:
        return await response.read(1 << 20, ItemError.DOCUMENT_TOO_LARGE)


async def failure(client: GuardedClient, url: str, allowed: Allowlist) -> SourceFailure:
    """GET, expecting a failure that tells nothing of the address."""
    with pytest.raises(SourceFailure) as caught:
        await read(client, url, allowed)
    assert url not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value
