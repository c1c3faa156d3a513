"""A gateway to register webhooks at, and the parts of the service that makes deliveries, on one database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice_contracts.events import Event, JobFinished, JobKind, JobOutcome, JobPlanned
from sluice_contracts.topics import JOBS_EVENTS
from sluice_security.http import GuardedClient
from sluice_security.http_limits import HttpLimits
from sluice_security.sealing import Seal
from sluice_storage.pool import open_pool
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.messages import Message
from sluice_webhooks.folding import Folding
from sluice_webhooks.postgres import PostgresWebhooks
from sluice_webhooks.sending import Sending
from support.gateway_memory import SECRET
from support.gateway_real import RealSite, real_gateway
from support.stack import Database
from support.webhook_receiver import Receiver

OWN: dict[str, Any] = {"client": "portal", "subject": "portal", "scopes": ""}
DAY = timedelta(days=1)


@dataclass
class Bed:
    """A gateway to register at, and the service's parts over the same database, with a clock of their own."""

    site: RealSite
    store: PostgresWebhooks
    client: GuardedClient
    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker(partitions=1))
    ahead: timedelta = timedelta()
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def folding(self) -> Folding:
        return Folding(self.store, DAY, self.now, lambda: None)

    async def fold(self, *events: Event) -> None:
        """Fold these as the next records of the log."""
        before = len(self.broker.records(JOBS_EVENTS.name))
        await self.broker.publish(*(Message(JOBS_EVENTS, event.job, event) for event in events))
        folding = self.folding()
        await folding.positions([0])
        await folding.apply(self.broker.records(JOBS_EVENTS.name)[before:])

    async def send(self) -> None:
        seal = Seal(bytes.fromhex(SECRET), "webhooks")
        await Sending(self.store, self.client, seal, self.now).turn(self.stop)

    async def register(self, to: Receiver, client: str = "portal", **fields: Any) -> str:
        """Register an endpoint of a client's; gives its id."""
        body, own = {"url": to.url, **fields}, OWN | {"client": client, "subject": client}
        answer = await self.site.post("/v2/webhooks", json=body, headers=self.site.bearer(**own))
        shown = await answer.json()
        assert answer.status == 201, shown
        to.secret = shown["secret"]
        return str(shown["id"])

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.site.get(f"/v2/webhooks/{path}", headers=self.site.bearer(**OWN))
        shown: dict[str, Any] = await answer.json()
        return shown

    async def deliveries(self, webhook: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.get(f"{webhook}/deliveries"))["items"]
        return found[::-1]


@asynccontextmanager
async def made_bed(database: Database, answer: float = 5.0) -> AsyncIterator[Bed]:
    """Make one; what it sends may stay on this machine, and is to be answered within so many seconds."""
    pool = await open_pool(database.dsn_for("webhooks"), size=4)
    limits = HttpLimits(answer=answer)
    try:
        async with real_gateway(database) as site, GuardedClient(limits=limits, loopback=True) as client:
            yield Bed(site, PostgresWebhooks(pool), client)
    finally:
        await pool.close()


def later() -> float:
    """Give a time that is after what was registered until now."""
    return datetime.now(UTC).timestamp() + 1


def planned(job: str, client: str = "portal", subject: str = "ann") -> JobPlanned:
    """Give the plan of a job of two items."""
    at, kind = later(), JobKind.DOCUMENT_IMPORT
    return JobPlanned(job=job, at=at, kind=kind, client=client, subject=subject, submitted_at=at, items=2)


def finished(job: str) -> JobFinished:
    """Give the end of that job, with one item failed."""
    counts = {"items": 2, "attached": 1, "skipped": 0, "failed": 1, "cancelled": 0}
    kind, outcome = JobKind.DOCUMENT_IMPORT, JobOutcome.COMPLETED
    return JobFinished(job=job, at=later(), kind=kind, outcome=outcome, **counts)
