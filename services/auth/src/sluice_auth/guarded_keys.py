"""How a client's key set is fetched: through the guarded client, from the registered address alone."""

from __future__ import annotations

from sluice_auth.remote_keys import Fetch, KeysUnreachableError
from sluice_contracts.errors import ItemError
from sluice_security.guard_urls import Allowlist, Prefix, UrlRefusedError
from sluice_security.http import GuardedClient, HttpLimits, SourceFailure

# A token request waits for this.
LIMITS = HttpLimits(connect=3.0, answer=5.0, read_idle=3.0, rate_window=5.0)
_LARGEST = 256 * 1024


def check_address(url: str, *, loopback: bool) -> None:
    """Refuse an address that key sets are not fetched from.

    Raises
    ------
    ValueError
        The text says why, without the address.
    """
    Prefix.parse(url, loopback=loopback)


def fetching(client: GuardedClient, *, loopback: bool) -> Fetch:
    """Make the function that reads a key set."""

    async def fetch(url: str) -> tuple[bytes, str]:
        try:
            allowed = Allowlist([Prefix.parse(url, loopback=loopback)])
            headers = {"Accept": "application/jwk-set+json, application/json"}
            async with await client.get(url, allowed, headers=headers) as response:
                if response.status != 200:
                    raise KeysUnreachableError
                body = await response.read(_LARGEST, ItemError.DOCUMENT_TOO_LARGE)
                return body, ", ".join(response.headers.getall("Cache-Control", []))
        except (SourceFailure, UrlRefusedError):
            raise KeysUnreachableError from None

    return fetch
