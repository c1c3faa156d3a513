"""What the services need of a store. `postgres` has the real one; tests have one in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from sluice_auth.model import Client, Entry, SealedKey
from sluice_auth.people_ports import Authorizations, People


class Work(Protocol):
    """One transaction: all of it happens, or none."""

    @property
    def people(self) -> People:
        """Users, their sessions and consents."""

    @property
    def authorizations(self) -> Authorizations:
        """What clients were given on behalf of users."""

    async def client(self, client_id: str) -> Client | None:
        """Give a client that was not removed."""

    async def add_client(self, client: Client) -> None:
        """Add a client, or put back one of that id."""

    async def change_client(self, client: Client, at: float) -> None:
        """Replace all that is known of a client."""

    async def remove_client(self, client_id: str, at: float) -> None:
        """Remove a client; its row stays for the audit trail."""

    async def use_assertion(self, issuer: str, jti: str, expires: float) -> bool:
        """Note the use of an assertion; False if it was used before. Atomic across processes."""

    async def revoke(self, digest: str, issued_until: float, forget_at: float) -> None:
        """Void the tokens of that digest that were issued up to `issued_until`."""

    async def issued_until(self, digests: Sequence[str]) -> float:
        """Give the latest time up to which tokens of any of these digests are void, or -inf."""

    async def record(self, entry: Entry) -> None:
        """Write an audit record."""


class Store(Protocol):
    """Clients, assertions, revocations and the audit trail."""

    def begin(self) -> AbstractAsyncContextManager[Work]:
        """Open a transaction: committed at the end of the block, undone by an exception."""

    async def client(self, client_id: str) -> Client | None:
        """Give a client that was not removed, outside of any transaction."""

    async def revoked(self, now: float) -> dict[str, float]:
        """Give every revocation that may still matter: digest to Unix time issued up to."""

    async def forget(self, now: float) -> None:
        """Drop what has expired: used assertions, revocations, sessions, authorizations."""


Plan = Callable[[Sequence[SealedKey]], tuple[Sequence[SealedKey], Sequence[str]]]
"""From the keys that are there, decides which to add and the ids of those to drop."""


class KeyStore(Protocol):
    """The signing keys that all processes share."""

    async def change_keys(self, plan: Plan, record: Callable[[], Entry]) -> list[SealedKey]:
        """Let `plan` decide, one process at a time, and give the keys as they are then.

        If anything changes, `record` makes the audit record that is written with it.
        """
