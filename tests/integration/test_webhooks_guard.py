"""Webhooks are sent to public addresses and to networks that operators name, and nothing else is dialled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from sluice_contracts.topics import JOBS_EVENTS
from sluice_security.http import GuardedClient
from sluice_streaming.messages import Message
from sluice_streaming.service import Context
from sluice_webhooks.__main__ import serve
from sluice_webhooks.settings import Settings
from support.gateway_memory import SECRET
from support.histories import job_number
from support.stack import Database
from support.webhook_bed import Bed, made_bed, planned
from support.webhook_receiver import Receiver

REFUSED = "source_address_refused"
# A private network, a cloud's metadata, a carrier's network, IPv6 of one's own, and IPv4 in disguise.
PRIVATE = ("10.0.0.5", "169.254.169.254", "100.64.0.1", "[fd00:ec2::254]", "[::ffff:10.0.0.5]")


class Resolver(AbstractResolver):
    """Gives this machine's address for every name."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """Give it."""
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[int, list[Any]]]:
    """Listen on this machine; gives the port and who has connected."""
    came: list[Any] = []

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], came
    finally:
        server.close()
        await server.wait_closed()


def production(database: Database, **settings: Any) -> Settings:
    """Give settings as in production: nothing on this machine."""
    return Settings(postgres=database.dsn_for("webhooks"), secret=SECRET, **settings)


@pytest.fixture
async def bed(database: Database) -> AsyncIterator[Bed]:
    async with made_bed(database) as found:
        yield found


async def test_the_service_dials_no_private_address_however_it_is_written(
    bed: Bed, database: Database
) -> None:
    webhooks = [await bed.register(Receiver(url=f"https://{host}/hook")) for host in PRIVATE]
    context = Context("webhooks")
    running = asyncio.create_task(serve(context, production(database), bed.broker, every=0.05))
    await bed.broker.publish(Message(JOBS_EVENTS, job_number(1), planned(job_number(1))))
    errors: dict[str, Any] = {}
    async with asyncio.timeout(120):
        while len(errors) < len(webhooks):
            for webhook in webhooks:
                (told,) = await bed.deliveries(webhook) or [{"error": None}]
                if told["error"]:
                    errors[webhook] = told["error"]
            await asyncio.sleep(0.05)
    context.stop.set()
    await running
    assert set(errors.values()) == {REFUSED}


@pytest.mark.parametrize(("networks", "dialled"), [("", False), ("10.0.0.0/8", False), ("127.0.0.0/8", True)])
async def test_a_name_that_leads_to_a_private_address_is_dialled_only_in_networks_that_are_named(
    bed: Bed, database: Database, networks: str, dialled: bool
) -> None:
    settings = production(database, webhook_networks=networks)
    async with (
        listening() as (port, came),
        GuardedClient(
            loopback=settings.loopback_sources, networks=settings.networks, resolver=Resolver()
        ) as client,
    ):
        webhook = await bed.register(Receiver(url=f"https://hooks.example.org:{port}/hook"))
        await bed.fold(planned(job_number(1)))
        bed.client = client
        await bed.send()
        (told,) = await bed.deliveries(webhook)
        # Who is dialled there speaks no TLS, which is another failure.
        assert (bool(came), told["error"] == REFUSED) == (dialled, not dialled)
        assert told["error"]
