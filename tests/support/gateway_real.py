"""The gateway on a real Postgres, with a log in memory unless another is given, and what the others would do.

async with real_gateway(database) as site:
    project = await site.bench.project("ann")
    await site.bench.file(project, "a.pdf", b"…")
    await site.get("/v2/files?project=" + project.id, headers=site.bearer())
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from sluice_contracts.commands import StartDocumentImport
from sluice_contracts.topics import JOBS_EVENTS
from sluice_fhir.condition_store import ConditionStore
from sluice_fhir.measures.artifacts import version_order
from sluice_fhir.source_store import SourceRegistry, SourceStore
from sluice_gateway.app import make_app, make_runner
from sluice_gateway.checkup import Checkup
from sluice_gateway.dead_letters import DeadLetters
from sluice_gateway.fhir.exports import ExportPorts
from sluice_gateway.fhir.measures import MeasurePorts
from sluice_gateway.health import Health
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
from sluice_stack.processes import free_port
from sluice_storage.access.grants import Grants
from sluice_storage.audit.acting import asked
from sluice_storage.audit.reading import Reader
from sluice_storage.catalogue import Catalogue
from sluice_storage.exports.downloads import Downloads
from sluice_storage.exports.objects import ExportObjects
from sluice_storage.pool import open_pool
from sluice_storage.resources.applying import Applier
from sluice_storage.resources.artifacts import Artifacts
from sluice_storage.resources.brought import Brought
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.lookup import Lookup
from sluice_streaming.backend import Producer
from sluice_streaming.beside import beside
from sluice_streaming.memory import MemoryBroker
from sluice_streaming.tail import MemoryTail
from support.catalogue import Bench, open_bench
from support.dead_letters_memory import no_dead_letters
from support.gateway_memory import ADVANCE, DOCUMENT, SCHEMAS, SECRET
from support.object_stores import MASTER_KEYS
from support.stack import Database
from support.tokens import AUDIENCE, LocalAuthority


@dataclass
class RealSite:
    """A gateway that answers over HTTP, what is behind it, and the attacher's catalogue beside it."""

    client: TestClient[Any, Any]
    gateway: Gateway
    authority: LocalAuthority
    broker: MemoryBroker
    bench: Bench
    sources: SourceStore
    admin: asyncpg.Pool
    database: Database

    def bearer(self, **kwargs: Any) -> dict[str, str]:
        """Headers with a token, by default of `ann` through the client `portal`, and advance access."""
        return {**self.authority.bearer(**{"client": "portal", "subject": "ann", **kwargs}), **ADVANCE}

    async def call(self, method: str, path: str, **kwargs: Any) -> ClientResponse:
        return await self.client.request(method, path, **kwargs)

    async def get(self, path: str, **kwargs: Any) -> ClientResponse:
        return await self.call("GET", path, **kwargs)

    async def post(self, path: str, **kwargs: Any) -> ClientResponse:
        return await self.call("POST", path, **kwargs)

    async def plan(self, start: StartDocumentImport) -> None:
        """Do what the fetcher and the status service do with a job's first record."""
        at = datetime.fromtimestamp(start.submitted_at, UTC)
        await self.admin.execute(
            "INSERT INTO documents.jobs"
            " (job, client, subject, conflict_resolution, tags, items, submitted_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            start.job,
            start.client,
            start.subject,
            str(start.conflict_resolution),
            list(start.tags),
            len(start.items),
            at,
        )
        await self.admin.executemany(
            "INSERT INTO documents.items (job, item, reference, source, project, folder, name)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [
                (start.job, number, item.reference, item.source, item.project, item.folder, item.name)
                for number, item in enumerate(start.items)
            ],
        )
        await self.admin.execute(
            "INSERT INTO status.jobs (job, kind, client, subject, state, items, submitted_at, started_at)"
            " VALUES ($1, 'document-import', $2, $3, 'RUNNING', $4, $5, now())",
            start.job,
            start.client,
            start.subject,
            len(start.items),
            at,
        )

    async def settle(self, job: str, items: Sequence[tuple[Any, ...]]) -> None:
        """Record (item, rank, code, source status, file) of each item, and that the job has ended."""
        await self.admin.executemany(
            "INSERT INTO status.job_items (job, item, rank, code, source_status, file, updated_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, now())",
            [(job, *item) for item in items],
        )
        await self.admin.execute(
            "UPDATE status.jobs SET state = 'FINISHED', outcome = 'completed', finished_at = now()"
            " WHERE job = $1",
            job,
        )


def _nonces() -> Callable[[], int]:
    numbers = itertools.count(1)
    return lambda: next(numbers)


@asynccontextmanager
async def real_gateway(
    database: Database,
    *,
    producer: Producer | None = None,
    exports: ExportObjects | None = None,
    now: Callable[[], float] = time.time,
    **settings: Any,
) -> AsyncIterator[RealSite]:
    """Run a gateway over the test's database; `exports` is where exports' files are."""
    broker = MemoryBroker()
    authority = LocalAuthority()
    async with AsyncExitStack() as stack:
        bench = await stack.enter_async_context(open_bench(database))
        pool = await open_pool(database.dsn_for("gateway"), size=6)
        stack.push_async_callback(pool.close)
        admin = await open_pool(database.dsn, size=1)
        stack.push_async_callback(admin.close)
        commands = Commands(producer or broker.producer())
        await commands.connect()
        stack.push_async_callback(commands.close)
        chosen = Settings(
            postgres=database.dsn_for("gateway"),
            secret=SECRET,
            master_keys=MASTER_KEYS,
            loopback_sources=True,
            **{"public_url": AUDIENCE, **settings},
        )
        holds = Downloads(pool)
        await stack.enter_async_context(beside(holds.renew()))
        sources = SourceStore(pool, chosen.secrets, loopback=True, asked=asked)
        ports = Ports(
            verifier=authority.verifier(),
            quotas=PostgresQuotas(pool),
            keys=PostgresKeys(pool),
            imports=PostgresImports(pool),
            all_jobs=PostgresAllJobs(pool),
            tail=MemoryTail(broker, JOBS_EVENTS.name),
            pulls=PostgresPulls(pool),
            webhooks=PostgresWebhooks(pool),
            brought=Brought(pool),
            submissions=PostgresSubmissions(pool),
            registry=SourceRegistry(pool, chosen.secrets, loopback=True),
            sources=sources,
            conditions=ConditionStore(pool),
            schemas=SCHEMAS,
            fhir=None,  # type: ignore[arg-type] # nothing here reads from a source
            catalogue=Catalogue(pool, bench.objects),
            commands=commands,
            health=Health({}),
            checkup=Checkup({}),
            grants=Grants(pool),
            groups=Groups(pool),
            lookup=Lookup(pool),
            smart=authority.smart_configuration,
            exports=ExportPorts(PostgresExports(pool), exports or ExportObjects.from_url("memory:"), holds),
            dead_letters=DeadLetters(*no_dead_letters()),
            audit=PostgresAudit(pool),
            audit_reader=Reader(pool),
            measures=MeasurePorts(Artifacts(pool, version_order), Applier(pool)),
        )
        gateway = assemble(chosen, ports, DOCUMENT, now=now, nonce=_nonces())
        client = await stack.enter_async_context(TestClient(TestServer(make_app(gateway))))
        yield RealSite(client, gateway, authority, broker, bench, sources, admin, database)


@asynccontextmanager
async def listening_gateway(database: Database, **given: Any) -> AsyncIterator[tuple[RealSite, str]]:
    """Run a gateway whose public URL is where it really listens; for clients that follow its addresses.

    `given` is for `real_gateway`.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with real_gateway(database, public_url=url, **given) as site:
        runner = make_runner(site.gateway)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield site, url
        finally:
            await asyncio.wait_for(runner.cleanup(), 120)


@asynccontextmanager
async def signed_in(site: RealSite, url: str, client: str, scopes: str) -> AsyncIterator[dict[str, Any]]:
    """Give the variables that let the command line be this client at the gateway at `url`."""

    async def discover(request: web.Request) -> web.Response:
        base = f"http://{request.host}"
        return web.json_response({"issuer": base, "token_endpoint": f"{base}/oauth/token"})

    async def token(_request: web.Request) -> web.Response:
        minted = site.authority.mint(client=client, subject=client, scopes=scopes)
        return web.json_response({"access_token": minted, "token_type": "Bearer", "expires_in": 300})

    app = web.Application()
    app.router.add_get("/.well-known/oauth-authorization-server", discover)
    app.router.add_post("/oauth/token", token)
    async with TestServer(app) as server:
        auth = str(server.make_url("")).rstrip("/")
        given = {"SLUICE_URL": url, "SLUICE_AUTH_URL": auth}
        yield {**given, "SLUICE_CLIENT_ID": client, "SLUICE_CLIENT_SECRET": "s"}
