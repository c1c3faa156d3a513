"""Serving TLS: 1.2 and newer, nothing older, and settings that say what is wrong with them."""

from __future__ import annotations

import asyncio
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from pydantic import ValidationError

from sluice_security.serving import QuietRunner, tls_context
from sluice_security.settings import TlsSettings
from support.certificates import Certificate, certificate_in


@pytest.fixture
def files(tmp_path: Path) -> Certificate:
    return certificate_in(tmp_path)


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = QuietRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def client(files: Certificate, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Give a client that speaks one version alone, with every cipher there is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


async def handshake(port: int, context: ssl.SSLContext) -> str | None:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    version: str | None = writer.get_extra_info("ssl_object").version()
    writer.close()
    return version


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_current_versions_are_served(files: Certificate, version: ssl.TLSVersion) -> None:
    async with (
        serving(tls_context(files.certificate, files.key)) as port,
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{port}/", ssl=client(files, version)) as answer,
    ):
        assert await answer.text() == "hello"


async def test_tls_1_1_is_refused_by_the_server(files: Certificate) -> None:
    old = client(files, ssl.TLSVersion.TLSv1_1)
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lax.load_cert_chain(files.certificate, files.key)
    lax.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        lax.minimum_version = ssl.TLSVersion.TLSv1_1
    # The client could, so that it is the server who does not.
    async with serving(lax) as port:
        assert await handshake(port, old) == "TLSv1.1"
    async with serving(tls_context(files.certificate, files.key)) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(port, old)


def test_without_a_certificate_nothing_is_encrypted_here() -> None:
    assert TlsSettings().tls() is None


def test_settings_give_what_to_serve_with(files: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_TLS_CERT", str(files.certificate))
    monkeypatch.setenv("SLUICE_TLS_KEY", str(files.key))
    context = TlsSettings().tls()
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("certificate", "key", "why"),
    [
        ("server.pem", None, "belong together"),
        (None, "server.key", "belong together"),
        ("server.pem", "none.key", "cannot be read"),
        ("server.pem", "other.key", "do not fit together"),
        ("server.key", "server.key", "do not fit together"),
        ("locked.pem", "locked.key", "pass phrase"),
    ],
)
def test_a_setting_that_cannot_be_served_with_says_why(
    files: Certificate, tmp_path: Path, certificate: str | None, key: str | None, why: str
) -> None:
    certificate_in(tmp_path, "other")
    certificate_in(tmp_path, "locked", pass_phrase=b"phrase")
    with pytest.raises(ValidationError, match=why):
        TlsSettings(
            tls_cert=None if certificate is None else tmp_path / certificate,
            tls_key=None if key is None else tmp_path / key,
        )
