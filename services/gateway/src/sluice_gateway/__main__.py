"""The gateway's process: `python -m sluice_gateway`."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import aiohttp
import asyncpg
import structlog

from sluice_contracts.topics import JOBS_EVENTS
from sluice_fhir.client import FhirClient
from sluice_fhir.condition_store import ConditionStore
from sluice_fhir.measures.artifacts import version_order
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.source_store import SourceRegistry, SourceStore
from sluice_gateway.alerts import Alerts, asking_for_alerts
from sluice_gateway.app import make_runner
from sluice_gateway.checkup import Checkup
from sluice_gateway.dead_letters import DeadLetters
from sluice_gateway.etas import Etas, asking, unblocked
from sluice_gateway.fhir.exports import ExportPorts
from sluice_gateway.fhir.measures import MeasurePorts
from sluice_gateway.health import Health
from sluice_gateway.holding_up import HoldingUp
from sluice_gateway.idempotency import LIFETIME
from sluice_gateway.openapi import api
from sluice_gateway.probes import Probes
from sluice_gateway.publishing import Commands
from sluice_gateway.settings import Settings
from sluice_gateway.stores.all_jobs import PostgresAllJobs
from sluice_gateway.stores.audit import PostgresAudit
from sluice_gateway.stores.exports import PostgresExports
from sluice_gateway.stores.imports import PostgresImports
from sluice_gateway.stores.keys import PostgresKeys
from sluice_gateway.stores.pulls import PostgresPulls
from sluice_gateway.stores.quotas import PostgresQuotas
from sluice_gateway.stores.submissions import PostgresSubmissions
from sluice_gateway.stores.webhooks import PostgresWebhooks
from sluice_gateway.wiring import Gateway, Ports, assemble
from sluice_openapi.document import written
from sluice_security.authority import HttpAuthority
from sluice_security.http import GuardedClient
from sluice_security.serving import served
from sluice_security.tokens import TokenVerifier
from sluice_storage.access.grants import Grants
from sluice_storage.audit.acting import asked
from sluice_storage.audit.reading import Reader
from sluice_storage.catalogue import Catalogue
from sluice_storage.exports.downloads import Downloads
from sluice_storage.exports.objects import ExportObjects
from sluice_storage.objects import ObjectStore
from sluice_storage.pool import TRANSIENT, open_pool
from sluice_storage.resources.applying import Applier
from sluice_storage.resources.artifacts import Artifacts
from sluice_storage.resources.brought import Brought
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.lookup import Lookup
from sluice_streaming.answering import answers
from sluice_streaming.beside import beside
from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.letters_reading import dead_topics
from sluice_streaming.redrive import redrive
from sluice_streaming.service import Context, run
from sluice_streaming.starting import unless
from sluice_streaming.tail import KafkaTail

log = structlog.get_logger(__name__)

_UPKEEP_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What forgets what is old."""

    keys: PostgresKeys
    exports: PostgresExports

    async def turn(self, now: datetime) -> None:
        """Forget what is old by now."""
        await self.keys.forget(now - LIFETIME)
        await self.exports.forget(now)


def _health(settings: Settings, pool: asyncpg.Pool, authority: HttpAuthority, commands: Commands) -> Health:
    async def postgres() -> bool:
        return bool(await pool.fetchval("SELECT true"))

    async def kafka() -> bool:
        return commands.connected and await answers(settings.kafka)

    async def authorization() -> bool:
        return bool(await authority.keys())

    return Health({"postgres": postgres, "kafka": kafka, "authorization": authorization})


@dataclass(frozen=True, slots=True)
class _Connected:
    """What the gateway is connected to, and what looks after it."""

    pool: asyncpg.Pool
    session: aiohttp.ClientSession
    authority: HttpAuthority
    verifier: TokenVerifier
    http: GuardedClient
    commands: Commands
    upkeep: Upkeep
    holds: Downloads


def _ports(settings: Settings, connected: _Connected) -> Ports:
    pool, authority, commands = connected.pool, connected.authority, connected.commands
    secret, loopback = settings.secrets, settings.loopback_sources
    health = _health(settings, pool, authority, commands)
    objects = ObjectStore.from_url(settings.objects, settings.keys)
    sources = SourceStore(pool, secret, loopback=loopback, asked=asked)
    fhir, conditions, all_jobs = FhirClient(connected.http), ConditionStore(pool), PostgresAllJobs(pool)
    look = partial(dead_topics, settings.kafka)
    probes = Probes(
        health=health,
        pool=pool,
        kafka=settings.kafka,
        objects=objects,
        keys=settings.keys,
        letters=look,
        sources=sources,
        conditions=conditions,
        fhir=fhir,
        http=connected.session,
        services=settings.services_by_name,
    )
    return Ports(
        verifier=connected.verifier,
        quotas=PostgresQuotas(pool),
        keys=connected.upkeep.keys,
        imports=PostgresImports(pool),
        all_jobs=all_jobs,
        tail=KafkaTail(settings.kafka, JOBS_EVENTS.name),
        pulls=PostgresPulls(pool),
        webhooks=PostgresWebhooks(pool),
        brought=Brought(pool),
        submissions=PostgresSubmissions(pool),
        registry=SourceRegistry(pool, secret, loopback=loopback),
        conditions=conditions,
        sources=sources,
        schemas=SchemaSet.load(settings.scrape_schemas),
        fhir=fhir,
        catalogue=Catalogue(pool, objects),
        commands=commands,
        health=health,
        checkup=Checkup(probes.all()),
        grants=Grants(pool),
        groups=Groups(pool),
        lookup=Lookup(pool),
        smart=authority.smart_configuration,
        exports=ExportPorts(
            connected.upkeep.exports, ExportObjects.from_url(settings.objects), connected.holds
        ),
        dead_letters=DeadLetters(
            look,
            lambda topic, limit: redrive(KafkaBackend(settings.kafka), topic, limit),
        ),
        audit=PostgresAudit(pool),
        audit_reader=Reader(pool),
        measures=MeasurePorts(Artifacts(pool, version_order), Applier(pool)),
        etas=_etas(settings, connected.session, HoldingUp(conditions, all_jobs)),
        alerts=Alerts(asking_for_alerts(connected.session, settings.insight) if settings.insight else None),
    )


def _etas(settings: Settings, session: aiohttp.ClientSession, holding_up: HoldingUp) -> Etas:
    if not settings.insight:
        return Etas()
    return Etas(unblocked(asking(session, settings.insight), holding_up.blocked))


@asynccontextmanager
async def running(context: Context, settings: Settings) -> AsyncIterator[tuple[Gateway, Upkeep]]:
    """Connect to everything and give the gateway, put together; disconnect in the end."""
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            await context.starting(
                open_pool(settings.postgres, size=settings.pool, application="sluice gateway")
            )
        )
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        authority = HttpAuthority(session, settings.issuer_url or settings.issuer)
        verifier = TokenVerifier(authority, issuer=settings.issuer, audience=settings.public_url)
        await stack.enter_async_context(verifier)
        http = await stack.enter_async_context(
            GuardedClient(loopback=settings.loopback_sources, networks=settings.networks)
        )
        # A portal waits for this record: it is not held back for company.
        producer = KafkaBackend(settings.kafka, tuning=KafkaTuning(pace=0.0)).producer()
        commands = Commands(producer)
        # Serving does not wait for Kafka: reading works without it, and imports are told to come back.
        connecting = asyncio.create_task(commands.connect(), name="connect to Kafka")
        stack.push_async_callback(commands.close)
        stack.callback(connecting.cancel)
        upkeep = Upkeep(PostgresKeys(pool), PostgresExports(pool))
        holds = Downloads(pool)
        await stack.enter_async_context(beside(holds.renew(), "hold what is downloaded"))
        connected = _Connected(pool, session, authority, verifier, http, commands, upkeep, holds)
        ports = _ports(settings, connected)
        yield (
            assemble(
                settings,
                ports,
                written(api()).encode(),
                now=time.time,
                nonce=lambda: secrets.randbits(32),
            ),
            upkeep,
        )


async def _forget(upkeep: Upkeep) -> None:
    """Forget what is old, again and again."""
    while True:
        try:
            await upkeep.turn(datetime.now(UTC))
        except TRANSIENT as error:
            log.warning("upkeep waits for Postgres", error=type(error).__name__)
        await asyncio.sleep(_UPKEEP_SECONDS)


async def main(context: Context) -> None:
    """Serve until asked to stop; then finish what is under way."""
    settings = Settings()
    async with running(context, settings) as (gateway, upkeep):
        # What was made by now stays: leaving it out keeps collections short, and so the slowest answers fast.
        gc.collect()
        gc.freeze()
        async with served(make_runner(gateway), *settings.address, settings.tls()):
            await unless(context.stop, _forget(upkeep))


if __name__ == "__main__":
    run("gateway", main)
