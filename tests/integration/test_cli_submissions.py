"""`sluice bulk-submit` with header fields and keys: the command, a gateway, a puller and a database."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey

from sluice_fhir.source_auth import BearerAuth
from sluice_fhir.sources import SourceChange
from support.cli import Cli
from support.gateway_real import RealSite, listening_gateway, signed_in
from support.pulling import PullSite, pull_site
from support.resource_store import lines_of
from support.stack import Database

PATIENT = {"resourceType": "Patient", "id": "1"}
TOKEN = "a-token-of-the-submitter"
WHICH = ("--submitter", "ward-3", "--submission", "2026-01")


@pytest.fixture
async def pull(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database, auth=BearerAuth(token="registered")) as found:
        yield found


@pytest.fixture
async def gateway(database: Database, pull: PullSite) -> AsyncIterator[tuple[RealSite, str]]:
    producer = pull.broker.producer()
    async with listening_gateway(database, producer=producer, export_early_polls=1000) as found:
        yield found


@pytest.fixture
async def cli(gateway: tuple[RealSite, str], tmp_path: Path) -> AsyncIterator[Cli]:
    async with signed_in(*gateway, "portal", "bulk/import") as login:
        yield Cli(tmp_path, environment=login)


def manifest(pull: PullSite, key: bytes | None = None) -> str:
    """Have the source serve a manifest and its file, encrypted if there is a key; gives its address."""

    def closed(content: bytes) -> bytes:
        if key is None:
            return content
        return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, content, OctKey.import_key(key)).encode()

    http = pull.source.http
    http.on("/fhir/files/a.ndjson", closed(lines_of(PATIENT)), Content_Type="application/fhir+ndjson")
    http.on(
        "/fhir/manifests/a", closed(json.dumps({"output": [{"url": f"{http.base}/files/a.ndjson"}]}).encode())
    )
    return f"{http.base}/manifests/a"


async def submitted(cli: Cli, pull: PullSite, url: str, *more: str, stdin: bytes = b"") -> str:
    """Submit a manifest, and wait until it is loaded; gives what was printed."""
    base = pull.source.http.base
    async with pull.running():
        told = await cli("bulk-submit", *WHICH, url, "--base", base, "--complete", *more, stdin=stdin)
        assert told.code == 0, told.err
        ended = await cli("bulk-submit-status", *WHICH, "--wait")
    assert ended.code == 0, ended.out + ended.err
    assert "Manifest 1: imported." in ended.out
    assert set(await pull.stored()) == {"Patient/1"}
    return told.out + ended.out


async def test_header_fields_from_a_file_are_sent_to_the_source_and_shown_nowhere(
    cli: Cli, pull: PullSite
) -> None:
    await pull.sources.update(pull.source_id, SourceChange(request_headers=("authorization", "x-ward")))
    (cli.folder / "headers").write_text(f"Authorization: Bearer {TOKEN}\nX-Ward: 3\n")
    told = await submitted(cli, pull, manifest(pull), "--headers", "headers")
    assert TOKEN not in told
    asked = [each for each in pull.source.http.asked if each.path.startswith("/fhir/")]
    assert len(asked) == 2
    assert {(each.headers["Authorization"], each.headers["X-Ward"]) for each in asked} == {
        (f"Bearer {TOKEN}", "3")
    }


@pytest.mark.parametrize("as_jwk", [False, True], ids=["bytes", "jwk"])
async def test_encrypted_manifests_and_files_are_loaded_with_the_key_of_a_file(
    cli: Cli, pull: PullSite, as_jwk: bool
) -> None:
    key = secrets.token_bytes(32)
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(key).decode().rstrip("=")}
    (cli.folder / "content.key").write_bytes(json.dumps(jwk).encode() if as_jwk else key)
    await submitted(cli, pull, manifest(pull, key), "--encryption-key", "content.key")


async def test_that_an_authorization_server_is_not_asked_is_told_and_registered_credentials_are_used(
    cli: Cli, pull: PullSite
) -> None:
    named = ("--oauth-metadata", "https://elsewhere.example/.well-known/oauth-authorization-server")
    told = await submitted(cli, pull, manifest(pull), *named)
    assert "oauthMetadataUrl itself was not asked" in told
    assert pull.source.http.asked[-1].headers["Authorization"] == "Bearer registered"


async def test_what_cannot_be_used_is_refused_on_one_line_before_anything_is_begun(
    cli: Cli, pull: PullSite
) -> None:
    url, base = manifest(pull), ("--base", pull.source.http.base)
    header = f"Authorization: Bearer {TOKEN}\n".encode()
    refused = await cli("bulk-submit", *WHICH, url, *base, "--headers", "-", stdin=header)
    assert (refused.code, refused.err.count("\n")) == (1, 1), refused.err
    assert "operators have not permitted" in refused.err
    assert TOKEN not in refused.err
    (cli.folder / "short.key").write_bytes(b"short")
    refused = await cli("bulk-submit", *WHICH, url, *base, "--encryption-key", "short.key")
    assert (refused.code, refused.err.count("\n")) == (2, 1), refused.err
    alone = await cli("bulk-submit", *WHICH, "--complete", "--headers", "-", stdin=header)
    assert alone.code == 2
    assert pull.source.http.asked == []
    unknown = await cli("bulk-submit-status", *WHICH)
    assert unknown.code == 4
