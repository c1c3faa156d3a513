"""How submitted manifests and files are read: with header fields, keys and tokens."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey

from sluice_contracts.errors import ERROR_TEXTS, ItemError
from sluice_contracts.topics import JOBS_BULK_IMPORT
from sluice_fhir.source_auth import BearerAuth
from sluice_fhir.sources import SourceChange
from support.gateway_real import RealSite, real_gateway
from support.pulling import PullSite, pull_site
from support.resource_store import Json, lines_of
from support.stack import Database
from support.submitting import Provider

PATIENT = {"resourceType": "Patient", "id": "1"}
TOKEN = "a-token-of-the-submitter"


@pytest.fixture
async def pull(database: Database) -> AsyncIterator[PullSite]:
    async with pull_site(database, auth=BearerAuth(token="registered")) as found:
        yield found


@pytest.fixture
async def site(database: Database, pull: PullSite) -> AsyncIterator[RealSite]:
    async with real_gateway(database, producer=pull.broker.producer(), export_early_polls=1000) as found:
        yield found


@pytest.fixture
def provider(site: RealSite, pull: PullSite) -> Provider:
    return Provider(site, pull)


def header(name: str, value: str) -> Json:
    parts = [{"name": "headerName", "valueString": name}, {"name": "headerValue", "valueString": value}]
    return {"name": "fileRequestHeader", "part": parts}


async def key_for(site: RealSite, key: bytes) -> Json:
    """Deliver a key as a submitter does: encrypted for the key that is published."""
    published = await site.get("/v2/fhir/submissions/jwks.json")
    (public,) = (await published.json())["keys"]
    assert "d" not in public
    protected = {"alg": public["alg"], "enc": "A256GCM", "kid": public["kid"]}
    value = jwe.encrypt_compact(protected, key, ECKey.import_key(public))
    return {"name": "fileEncryptionKey", "part": [{"name": "value", "valueString": value}]}


def closed(content: bytes, key: bytes) -> bytes:
    return jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, content, OctKey.import_key(key)).encode()


def altered(file: bytes) -> bytes:
    return file[:-10] + (b"A" if file[-10:-9] != b"A" else b"B") + file[-9:]


def encrypt(provider: Provider, name: str, key: bytes, change: Callable[[bytes], bytes] = bytes) -> str:
    """Have the source serve a manifest and its file encrypted; `change` alters the encrypted file."""
    http = provider.pull.source.http
    url = provider.manifest(name, PATIENT)
    listed = {"url": f"{http.base}/files/{name}.ndjson"}
    http.on(f"/fhir/files/{name}.ndjson", change(closed(lines_of(PATIENT), key)))
    http.on(f"/fhir/manifests/{name}", closed(json.dumps({"output": [listed]}).encode(), key))
    return url


async def test_permitted_header_fields_are_sent_for_manifest_and_files_in_place_of_our_credentials(
    provider: Provider, pull: PullSite
) -> None:
    change = SourceChange(request_headers=("X-Api-Key", "Authorization"))
    await pull.sources.update(pull.source_id, change)
    url = provider.manifest("a", PATIENT)
    given = (header("x-api-key", "k-1"), header("Authorization", f"Bearer {TOKEN}"))
    async with pull.running():
        await provider.submitted(url, "completed", more=given)
        shown = await provider.ended()
    assert (await provider.told(shown))["a"][0] == ("information", "Manifest 1: imported.")
    asked = [each for each in pull.source.http.asked if each.path.startswith("/fhir/")]
    assert len(asked) == 2
    assert {each.headers["X-Api-Key"] for each in asked} == {"k-1"}
    assert {each.headers["Authorization"] for each in asked} == {f"Bearer {TOKEN}"}


async def test_header_fields_do_not_follow_a_redirect_to_another_origin(
    provider: Provider, pull: PullSite
) -> None:
    await pull.sources.update(pull.source_id, SourceChange(request_headers=("x-api-key",)))
    http = pull.source.http
    elsewhere = f"http://localhost:{http.port}/moved"
    await pull.sources.update(pull.source_id, SourceChange(attachment_prefixes=(elsewhere,)))
    url = provider.manifest("a", PATIENT)
    http.on("/moved/a.ndjson", lines_of(PATIENT))
    http.redirect("/fhir/files/a.ndjson", f"{elsewhere}/a.ndjson")
    async with pull.running():
        await provider.submitted(url, "completed", more=(header("x-api-key", "k-1"),))
        await provider.ended()
    (moved,) = [each for each in http.asked if each.path == "/moved/a.ndjson"]
    assert not {"X-Api-Key", "Authorization"} & set(moved.headers)


async def test_what_a_submitter_hands_over_is_in_no_row_and_no_record(
    provider: Provider, pull: PullSite, site: RealSite
) -> None:
    await pull.sources.update(pull.source_id, SourceChange(request_headers=("authorization",)))
    key = secrets.token_bytes(32)
    given = (header("authorization", f"Bearer {TOKEN}"), await key_for(site, key))
    await provider.submitted(encrypt(provider, "a", key), more=given)
    (command,) = pull.broker.bodies(JOBS_BULK_IMPORT)
    assert command.request.submitted
    async with pull.running():
        await provider.submitted(None, "completed")
        shown = await provider.ended()
        held = await pull.rows.fetch("SELECT row_to_json(j)::text FROM pulls.jobs j")
    assert (await provider.told(shown))["a"][0] == ("information", "Manifest 1: imported.")
    told = msgspec.json.encode(command) + str(held).encode() + json.dumps(shown).encode()
    assert TOKEN.encode() not in told
    assert key.hex().encode() not in told


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (header("x-api-key", "k"), "not-supported"),
        (header("authorization", "Bearer x\r\nHost: other"), "not-supported"),
        ({"name": "fileEncryptionKey", "part": [{"name": "value", "valueString": "a.b.c.d.e"}]}, "value"),
    ],
)
async def test_what_cannot_be_used_is_refused_and_nothing_is_begun(
    provider: Provider, pull: PullSite, given: Json, code: str
) -> None:
    await pull.sources.update(pull.source_id, SourceChange(request_headers=("authorization",)))
    answer = await provider.submit(provider.manifest("a", PATIENT), "completed", more=(given,))
    issues = (await answer.json())["issue"]
    assert (answer.status, [each["code"] for each in issues]) == (400, [code])
    assert not pull.broker.bodies(JOBS_BULK_IMPORT)


async def test_encrypted_manifests_and_files_are_decrypted(
    provider: Provider, pull: PullSite, site: RealSite
) -> None:
    key = secrets.token_bytes(32)
    async with pull.running():
        given = (await key_for(site, key),)
        await provider.submitted(encrypt(provider, "a", key), "completed", more=given)
        shown = await provider.ended()
    assert (await provider.told(shown))["a"][0] == ("information", "Manifest 1: imported.")
    assert set(await provider.stored()) == {"Patient/1"}


@pytest.mark.parametrize(
    "change",
    [altered, lambda _file: lines_of(PATIENT), lambda file: file[:-40]],
    ids=["altered", "in the clear", "cut"],
)
async def test_of_a_file_that_is_not_encrypted_with_the_key_nothing_is_kept(
    provider: Provider, pull: PullSite, site: RealSite, change: Callable[[bytes], bytes]
) -> None:
    key = secrets.token_bytes(32)
    async with pull.running():
        given = (await key_for(site, key),)
        await provider.submitted(encrypt(provider, "a", key, change), "completed", more=given)
        shown = await provider.ended()
    (told,) = (await provider.told(shown)).values()
    assert any(ERROR_TEXTS[ItemError.NOT_DECRYPTED].message in text for _, text in told), told
    assert not await provider.stored()


async def test_a_token_is_sent_as_is_registered_whatever_authorization_server_is_named(
    provider: Provider, pull: PullSite
) -> None:
    url = provider.manifest("a", PATIENT)
    named: dict[str, Any] = {
        "name": "oauthMetadataUrl",
        "valueUrl": "https://elsewhere.example/.well-known/x",
    }
    async with pull.running():
        await provider.submitted(url, "completed", more=(named,))
        await provider.ended()
    manifest = next(each for each in pull.source.http.asked if each.path == "/fhir/manifests/a")
    assert manifest.headers["Authorization"] == "Bearer registered"
