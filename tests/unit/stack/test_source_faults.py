"""The demo source: sound answers are sound, and each fault is the one its table says."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

from sluice_stack.source import SourceServer, rules
from sluice_stack.source.faults import BY_KIND, FAULTS, kind_of
from sluice_stack.source.server import SAMPLE


@pytest.fixture
async def source(request: pytest.FixtureRequest) -> AsyncIterator[SourceServer]:
    server = SourceServer(SAMPLE if "synthea" in request.node.name or "sample" in request.node.name else None)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        yield session


async def _json(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(url) as response:
        assert response.status == 200
        decoded: dict[str, Any] = msgspec.json.decode(await response.read())
        return decoded


def _sha1(data: bytes) -> str:
    return base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()


@pytest.mark.parametrize("name", ["synthea", "ncpi", "r4"])
async def test_every_document_names_the_size_and_hash_of_what_it_points_to(
    source: SourceServer, http: aiohttp.ClientSession, name: str
) -> None:
    checked = 0
    for url in source.documents(name)[:30]:
        attachment = (await _json(http, url))["content"][0]["attachment"]
        if "url" not in attachment:
            continue
        async with http.get(f"{source.base(name)}/{attachment['url']}") as response:
            body = await response.read()
        assert (len(body), _sha1(body)) == (attachment["size"], attachment["hash"])
        checked += 1
    assert checked


async def test_the_sample_holds_enough_documents_and_all_they_refer_to(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    documents = source.documents("synthea")
    assert len(documents) >= 500
    document = await _json(http, documents[0])
    references = [
        document["subject"]["reference"],
        document["author"][0]["reference"],
        document["custodian"]["reference"],
        document["context"]["encounter"][0]["reference"],
    ]
    for reference in references:
        found = await _json(http, f"{source.base('synthea')}/{reference}")
        assert f"{found['resourceType']}/{found['id']}" == reference


async def test_documents_by_rule_name_the_size_and_hash_of_their_files(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    for name in ("bench-000001", "bench-020000", "big-300kb"):
        attachment = (await _json(http, f"{source.base('r4')}/DocumentReference/{name}"))["content"][0][
            "attachment"
        ]
        async with http.get(attachment["url"]) as response:
            body = await response.read()
        assert (len(body), _sha1(body)) == (attachment["size"], attachment["hash"])


async def test_a_large_file_resumes_where_it_is_asked_to(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    url = f"{source.base('r4')}/files/big-3mb"
    async with http.get(url) as response:
        whole = await response.read()
    async with http.get(url, headers={"Range": "bytes=1500000-"}) as response:
        assert response.status == 206
        assert await response.read() == whole[1500000:]


async def test_a_search_finds_what_refers_to_a_patient(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    for query in ("subject=Patient/PT-0001", "subject=PT-0001", "patient=PT-0001"):
        bundle = await _json(http, f"{source.base('ncpi')}/Specimen?{query}")
        assert bundle["total"] == 2
        assert {entry["resource"]["subject"]["reference"] for entry in bundle["entry"]} == {"Patient/PT-0001"}


async def test_a_search_by_several_ids_finds_those_that_are_there_each_as_its_read_gives_it(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    names = ["bench-000001", "generic-000", "nowhere", "fault-gone", "bench-000002"]
    url = f"{source.base('r4')}/DocumentReference"
    bundle = await _json(http, f"{url}?_id={','.join(names)}&_count=5")
    found = {entry["resource"]["id"]: entry["resource"] for entry in bundle["entry"]}
    assert set(found) == {"bench-000001", "generic-000", "bench-000002"}
    assert found == {name: await _json(http, f"{url}/{name}") for name in found}
    statement = await _json(http, f"{source.base('r4')}/metadata")
    kinds = {each["type"]: each for each in statement["rest"][0]["resource"]}
    assert kinds["DocumentReference"]["searchParam"] == [{"name": "_id", "type": "token"}]


async def test_a_binary_is_wrapped_only_for_those_who_ask_for_fhir(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    url = f"{source.base('ncpi')}/Binary/GF-0000-0"
    async with http.get(url, headers={"Accept": "application/gzip"}) as response:
        raw = await response.read()
    async with http.get(url, headers={"Accept": "application/fhir+json"}) as response:
        binary = msgspec.json.decode(await response.read())
    assert base64.b64decode(binary["data"]) == raw


async def test_an_unchanged_resource_is_not_sent_again(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    url = source.documents("r4")[0]
    async with http.get(url) as response:
        tag = response.headers["ETag"]
    async with http.get(url, headers={"If-None-Match": tag}) as response:
        assert response.status == 304


async def test_protected_bases_take_only_their_own_tokens(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    form = {"grant_type": "client_credentials"}
    secret = aiohttp.encode_basic_auth(source.credentials.client_id, source.credentials.client_secret)
    async with http.post(source.token_url, data=form, headers={"Authorization": secret}) as response:
        issued = (await response.json())["access_token"]
    outcomes = {}
    for base, token in (("bearer", source.credentials.bearer), ("oauth", issued), ("bearer", issued)):
        headers = {"Authorization": f"Bearer {token}"}
        async with http.get(f"{source.base(base)}/DocumentReference/generic-000", headers=headers) as answer:
            outcomes[base, token] = answer.status
    assert list(outcomes.values()) == [200, 200, 401]


def test_every_fault_is_known_by_its_id_and_by_further_ids() -> None:
    assert len(BY_KIND) == len(FAULTS)
    for fault in FAULTS:
        assert kind_of(fault.id) == kind_of(fault.document("7")) == fault.kind
    assert kind_of("fault-unknown") is None
    assert kind_of("generic-001") is None


@pytest.mark.parametrize("fault", [f for f in FAULTS if f.status], ids=lambda fault: fault.kind)
async def test_a_refusing_fault_refuses_with_the_status_of_the_table(
    source: SourceServer, http: aiohttp.ClientSession, fault: Any
) -> None:
    url = f"{source.base('r4')}/DocumentReference/{fault.id}"
    async with http.get(url, allow_redirects=False) as response:
        status, body = response.status, await response.read()
    if status == 200:
        url = msgspec.json.decode(body)["content"][0]["attachment"]["url"]
        async with http.get(url, allow_redirects=False) as response:
            status = response.status
    assert status == fault.status


@pytest.mark.parametrize("kind", ["throttled-twice", "unavailable-twice"])
async def test_a_passing_fault_passes_the_third_time(
    source: SourceServer, http: aiohttp.ClientSession, kind: str
) -> None:
    statuses = []
    for _ in range(3):
        async with http.get(f"{source.base('r4')}/DocumentReference/fault-{kind}.x") as response:
            statuses.append(response.status)
    assert statuses[0] == statuses[1] >= 400
    assert statuses[2] == 200


async def test_a_connection_broken_once_can_be_resumed(
    source: SourceServer, http: aiohttp.ClientSession
) -> None:
    url = f"{source.base('r4')}/files/fault-broken-once"
    async with http.get(url) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    half = rules.FILE_SIZE // 2
    async with http.get(url, headers={"Range": f"bytes={half}-"}) as response:
        assert response.status == 206
        assert await response.read() == rules.bench_content(0)[half:]


async def test_a_truncated_file_never_comes_whole(source: SourceServer, http: aiohttp.ClientSession) -> None:
    for start in (0, 10_000):
        headers = {"Range": f"bytes={start}-"}
        async with http.get(f"{source.base('r4')}/files/fault-truncated", headers=headers) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


async def test_the_bomb_is_small_on_the_wire(source: SourceServer) -> None:
    async with (
        aiohttp.ClientSession(auto_decompress=False) as http,
        http.get(f"{source.base('r4')}/files/fault-gzip-bomb") as response,
    ):
        packed = await response.read()
    assert response.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 200_000


async def test_a_hang_never_answers(source: SourceServer, http: aiohttp.ClientSession) -> None:
    asked = asyncio.ensure_future(http.get(f"{source.base('r4')}/DocumentReference/fault-hang"))
    # Another request that was sent later is answered first.
    await _json(http, f"{source.base('r4')}/metadata")
    assert not asked.done()
    asked.cancel()


def test_the_same_rule_gives_the_same_bytes_in_every_process() -> None:
    script = (
        "import hashlib; from sluice_stack.source import rules;"
        "print(hashlib.sha256(rules.bench_content(19999)).hexdigest())"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == hashlib.sha256(rules.bench_content(19_999)).hexdigest()
