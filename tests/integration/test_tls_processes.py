"""Gateway and authorization server with a certificate of their own, and the command line as their client."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from sluice_stack.processes import free_port
from support.auth_server import SECRET
from support.certificates import Certificate, certificate_in
from support.cli import Cli
from support.object_stores import MASTER_KEYS
from support.stack import Database


@asynccontextmanager
async def serving(service: str, database: Database, files: Certificate) -> AsyncIterator[str]:
    """Run a service with TLS and give its address."""
    url = f"https://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        "SLUICE_POSTGRES": database.dsn_for(service),
        "SLUICE_SECRET": SECRET,
        "SLUICE_MASTER_KEYS": MASTER_KEYS,
        "SLUICE_ISSUER": url,
        "SLUICE_PUBLIC_URL": url,
        "SLUICE_LISTEN": url.removeprefix("https://"),
        "SLUICE_OBJECTS": files.key.parent.as_uri(),
        "SLUICE_TLS_CERT": str(files.certificate),
        "SLUICE_TLS_KEY": str(files.key),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"sluice_{service}", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await alive(url, files, process)
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def alive(url: str, files: Certificate, process: asyncio.subprocess.Process) -> None:
    trusting = ssl.create_default_context(cafile=str(files.certificate))
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        while process.returncode is None:
            try:
                async with session.get(f"{url}/livez", ssl=trusting) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
    raise AssertionError(f"ended with {process.returncode}")


@pytest.mark.parametrize("service", ["gateway", "auth"])
async def test_a_service_with_a_certificate_speaks_tls_and_nothing_else(
    database: Database, tmp_path: Path, service: str
) -> None:
    async with (
        serving(service, database, certificate_in(tmp_path)) as url,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http{url.removeprefix('https')}/livez")


async def test_the_command_line_trusts_whom_it_is_told_to(database: Database, tmp_path: Path) -> None:
    files = certificate_in(tmp_path)
    async with serving("auth", database, files) as url:
        cli = Cli(tmp_path)
        stranger = await cli("login", url)
        assert (stranger.code, stranger.err.count("\n")) == (5, 1)
        told = await cli("--ca", str(files.certificate), "login", url)
        assert told.code == 0, told.err
        assert (await cli("login", url, SSL_CERT_FILE=str(files.certificate))).code == 0
        wrong = await cli("--ca", str(files.key), "login", url)
        assert (wrong.code, wrong.err.count("\n")) == (1, 1)
        assert "no certificates" in wrong.err
