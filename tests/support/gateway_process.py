"""The gateway as a process of its own, with an authorization server that only publishes its keys.

async with gateway_process(database, bootstrap, folder) as running:
    running.url, running.authority.bearer(), running.process
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web

from sluice_stack.processes import free_port
from support.gateway_memory import SECRET
from support.object_stores import MASTER_KEYS
from support.stack import Database
from support.tokens import LocalAuthority

_ATTEMPTS = 300


@dataclass
class Running:
    """A gateway that runs, its address, who mints its tokens, and where it logs."""

    url: str
    authority: LocalAuthority
    process: asyncio.subprocess.Process
    log: Path

    async def stop(self) -> int:
        """Ask it to stop as an operator would, and give its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 120)


@asynccontextmanager
async def key_server(authority: LocalAuthority, port: int) -> AsyncIterator[None]:
    """Publish an authority's keys and revocations."""

    async def jwks(_: web.Request) -> web.Response:
        return web.json_response({"keys": await authority.keys()})

    async def revoked(_: web.Request) -> web.Response:
        return web.json_response({"revoked": await authority.revoked()})

    app = web.Application()
    app.add_routes([web.get("/oauth/jwks", jwks), web.get("/oauth/revoked", revoked)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def ready(url: str, process: asyncio.subprocess.Process) -> None:
    """Wait until it says that it is ready."""
    async with aiohttp.ClientSession() as session:
        for _ in range(_ATTEMPTS):
            assert process.returncode is None, "the gateway ended while starting"
            try:
                async with session.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError("the gateway did not become ready")


@asynccontextmanager
async def gateway_process(
    database: Database, bootstrap: str, folder: Path, *, wait: bool = True
) -> AsyncIterator[Running]:
    """Run a gateway with its logs and objects in `folder`, wait until it is ready, stop it in the end."""
    auth_port, port = free_port(), free_port()
    url, issuer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{auth_port}"
    authority = LocalAuthority(issuer=issuer, audience=url)
    environment = {
        **os.environ,
        "SLUICE_KAFKA": bootstrap,
        "SLUICE_POSTGRES": database.dsn_for("gateway"),
        "SLUICE_OBJECTS": (folder / "objects").as_uri(),
        "SLUICE_LISTEN": f"127.0.0.1:{port}",
        "SLUICE_PUBLIC_URL": url,
        "SLUICE_ISSUER": issuer,
        "SLUICE_SECRET": SECRET,
        "SLUICE_MASTER_KEYS": MASTER_KEYS,
    }
    log = folder / "gateway.log"
    with log.open("wb") as out:
        async with key_server(authority, auth_port):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "sluice_gateway", env=environment, stdout=out, stderr=out
            )
            running = Running(url, authority, process, log)
            try:
                if wait:
                    await ready(url, process)
                yield running
            finally:
                if process.returncode is None:
                    await running.stop()
