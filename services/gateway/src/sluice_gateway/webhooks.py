"""Webhooks, as a client registers them, looks after them and has things told again.

A webhook is told of all jobs that its client submitted, for whomever; so only a token with which the client
acts for itself is good for this.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from sluice_contracts.webhooks import PING, ping_payload
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.models.webhooks import Delivery, DeliveryState, NewWebhook, Webhook
from sluice_gateway.paging import Window
from sluice_gateway.problems import FieldProblem, Problem, invalid, not_found
from sluice_gateway.stores.webhooks import PostgresWebhooks
from sluice_security.guard_urls import UrlRefusedError, place_of
from sluice_security.sealing import Seal
from sluice_security.tokens import Principal
from sluice_security.webhooks import secret_text

MOST = 20
"""How many webhooks a client may have."""
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What a client can do about its webhooks.

    Parameters
    ----------
    store
        Where they are.
    seal
        Seals secrets.
    loopback
        Let them be http and on this machine (development).
    hrefs
        Makes addresses.
    now
        The wall clock, Unix seconds.
    patience
        How long a delivery that is asked for here is tried.
    """

    store: PostgresWebhooks
    seal: Seal
    loopback: bool
    hrefs: Hrefs
    now: Callable[[], float]
    patience: timedelta

    async def register(self, who: Principal, url: str, types: list[str]) -> NewWebhook:
        """Register a webhook; Problem 400 if the address is no good, 409 if there are too many."""
        client = _client(who)
        self._check(url)
        endpoint = secrets.token_hex(12)
        secret, sealed = self._new_secret(endpoint)
        row = await self.store.add(endpoint, client, url, types, sealed, self._at(), MOST)
        if row is None:
            text = f"A client can have {MOST} webhooks."
            raise Problem(409, "too_many_webhooks", text, "Remove one first.")
        return NewWebhook(**dict(self._shown(row)), secret=secret)

    async def rotate_secret(self, who: Principal, webhook: str, overlap: timedelta) -> NewWebhook:
        """Give a webhook another secret; the one of now counts for so long beside it. Problem 404."""
        secret, sealed = self._new_secret(webhook)
        row = await self.store.rotate(_client(who), webhook, sealed, self._at() + overlap)
        return NewWebhook(**dict(self._shown(_there(row))), secret=secret)

    async def page(self, who: Principal, window: Window) -> tuple[list[Webhook], int]:
        """Give a page of the client's webhooks, and how many there are."""
        rows, total = await self.store.page(_client(who), window)
        return [self._shown(row) for row in rows], total

    async def get(self, who: Principal, webhook: str) -> Webhook:
        """Give a webhook; Problem 404."""
        return self._shown(_there(await self.store.get(_client(who), webhook)))

    async def change(
        self, who: Principal, webhook: str, url: str | None, types: list[str] | None, enabled: bool | None
    ) -> Webhook:
        """Change what is not None; Problem 400 or 404."""
        client = _client(who)
        if url is not None:
            self._check(url)
        row = await self.store.change(client, webhook, self._at(), url=url, types=types, enabled=enabled)
        return self._shown(_there(row))

    async def remove(self, who: Principal, webhook: str) -> None:
        """Remove a webhook and what is known of its deliveries; Problem 404."""
        if not await self.store.remove(_client(who), webhook):
            raise not_found("webhook")

    async def deliveries(
        self, who: Principal, webhook: str, state: DeliveryState | None, window: Window
    ) -> tuple[list[Delivery], int]:
        """Give a page of deliveries, the newest first, and how many there are; Problem 404."""
        _there(await self.store.get(_client(who), webhook))
        rows, total = await self.store.deliveries(_client(who), webhook, state, window)
        return [self._delivery(webhook, row) for row in rows], total

    async def delivery(self, who: Principal, webhook: str, delivery: str) -> Delivery:
        """Give a delivery; Problem 404."""
        return self._delivery(webhook, await self._found(who, webhook, delivery))

    async def ping(self, who: Principal, webhook: str) -> Delivery:
        """Send a message that means nothing; Problem 404, 409 if the webhook is disabled."""
        await self._enabled(who, webhook)
        at = self._at()
        body = ping_payload(at.timestamp())
        row = await self.store.ping(
            webhook, f"ping/{secrets.token_hex(12)}", PING, body, at, at + self.patience
        )
        return self._delivery(webhook, _there(row, "delivery"))

    async def redeliver(self, who: Principal, webhook: str, delivery: str) -> Delivery:
        """Have a message sent again, whatever became of it; Problem 404, 409 if the webhook is disabled."""
        found = await self._found(who, webhook, delivery)
        await self._enabled(who, webhook)
        at = self._at()
        row = await self.store.again(found["id"], at, at + self.patience)
        return self._delivery(webhook, _there(row, "delivery"))

    async def _enabled(self, who: Principal, webhook: str) -> None:
        if not _there(await self.store.get(_client(who), webhook))["enabled"]:
            raise Problem(409, "webhook_disabled", "The webhook is disabled.", "Enable it first.")

    async def _found(self, who: Principal, webhook: str, delivery: str) -> asyncpg.Record:
        client = _client(who)
        sound = delivery.isascii() and delivery.isdigit() and len(delivery) < 19
        row = await self.store.delivery(client, webhook, int(delivery)) if sound else None
        return _there(row, "delivery")

    def _new_secret(self, endpoint: str) -> tuple[str, bytes]:
        """Give a new secret as its receiver is told it, and sealed."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        return secret_text(secret), self.seal.close(secret, endpoint)

    def _check(self, url: str) -> None:
        try:
            place_of(url, loopback=self.loopback)
        except UrlRefusedError as error:
            raise invalid([FieldProblem("url", str(error))]) from None

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def _shown(self, row: asyncpg.Record) -> Webhook:
        return Webhook(
            id=row["id"],
            href=self.hrefs.webhook(row["id"]),
            url=row["url"],
            types=row["types"],
            enabled=row["enabled"],
            note=row["note"],
            created_on=row["created_at"],
            delivered_on=row["delivered_at"],
            previous_secret_until=self._still(row["previous_until"]),
        )

    def _still(self, until: datetime | None) -> datetime | None:
        return until if until is not None and until > self._at() else None

    def _delivery(self, webhook: str, row: asyncpg.Record) -> Delivery:
        state = DeliveryState(row["state"])
        return Delivery(
            id=str(row["id"]),
            href=f"{self.hrefs.webhook(webhook)}/deliveries/{row['id']}",
            message=row["message"],
            type=row["type"],
            job=row["job"],
            state=state,
            attempts=row["attempts"],
            status=row["status"],
            error=row["error"],
            created_on=row["created_at"],
            due_on=row["due"] if state is DeliveryState.WAITING else None,
            ended_on=row["ended_at"],
        )


def _client(who: Principal) -> str:
    if who.subject != who.client:
        text = "Webhooks are a client's own."
        raise Problem(403, "not_the_client", text, "Use a token with which the client acts for itself.")
    return who.client


def _there(row: asyncpg.Record | None, what: str = "webhook") -> asyncpg.Record:
    if row is None:
        raise not_found(what)
    return row
