"""Every fault that a source can play, through the whole stack: the item ends as the table says."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sluice_contracts.errors import ERROR_TEXTS
from sluice_stack.source import rules
from sluice_stack.source.faults import FAULTS
from sluice_stack.stack import Stack
from support.portal import Portal, new_portal, register_source

# Whoever refuses for as long as it is asked holds its source back, for all items. Each of these therefore has
# the demo source under an address of its own, and meets there only itself.
HOLDING = {"throttled": "bearer", "unavailable": "oauth"}


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Portal]:
    async with new_portal(stack) as made:
        yield made


def _document(stack: Stack, name: str, base: str = "r4") -> str:
    return f"{stack.layout.source_url}/{base}/fhir/DocumentReference/{name}"


async def _imported(client: Portal, documents: Sequence[str]) -> list[dict[str, Any]]:
    ended = await client.finished([await client.submit(documents)])
    results: list[dict[str, Any]] = ended[0]["result"]
    return results


async def _register_protected(client: Portal, stack: Stack) -> None:
    secrets = stack.layout.home.secrets()
    bearer = {"type": "bearer", "token": secrets.source_bearer}
    await register_source(stack, client.http, "bearer", auth=bearer)
    oauth = {
        "type": "client_credentials",
        "token_url": f"{stack.layout.source_url}/oauth/token",
        "client_id": "sluice",
        "client_secret": secrets.source_client_secret,
    }
    await register_source(stack, client.http, "oauth", auth=oauth)


async def _download(client: Portal, file: dict[str, Any]) -> bytes:
    status, info = await client.call("GET", f"/v2/files/{file['id']}/download_info")
    assert status == 200
    async with client.http.get(info["url"]) as response:
        assert response.status == 200
        return await response.read()


@pytest.fixture(scope="module")
def results(stack: Stack) -> dict[str, dict[str, Any]]:
    """Import one document of every fault; give the results by the fault's kind, files with their `sha256`."""
    return asyncio.run(_meet_every_fault(stack))


async def _meet_every_fault(stack: Stack) -> dict[str, dict[str, Any]]:
    async with new_portal(stack) as client:
        await _register_protected(client, stack)
        documents = [_document(stack, fault.id, HOLDING.get(fault.kind, "r4")) for fault in FAULTS]
        found = await _imported(client, documents)
        for result in found:
            if result["resource"]:
                body = await _download(client, result["resource"])
                result["sha256"] = hashlib.sha256(body).hexdigest()
    return {fault.kind: result for fault, result in zip(FAULTS, found, strict=True)}


def test_every_fault_ends_its_item_as_the_table_says(results: dict[str, dict[str, Any]]) -> None:
    got = {kind: result["error"] and result["error"]["code"] for kind, result in results.items()}
    assert got == {fault.kind: fault.error and fault.error.value for fault in FAULTS}


def test_a_failed_item_shows_the_status_of_its_source(results: dict[str, dict[str, Any]]) -> None:
    refused = {fault.kind: fault.status for fault in FAULTS if fault.status and fault.status >= 400}
    assert {kind: results[kind]["error"]["status"] for kind in refused} == refused


def test_what_a_source_said_is_in_no_error(results: dict[str, dict[str, Any]]) -> None:
    errors = [result["error"] for result in results.values() if result["error"]]
    known = {(text.message, text.more_info) for text in ERROR_TEXTS.values()}
    assert {(error["message"], error["more_info"]) for error in errors} <= known


def test_a_fault_that_passes_leaves_the_whole_file(results: dict[str, dict[str, Any]]) -> None:
    digest = hashlib.sha256(rules.bench_content(0)).hexdigest()
    passing = [fault.kind for fault in FAULTS if fault.error is None]
    assert {kind: results[kind]["sha256"] for kind in passing} == dict.fromkeys(passing, digest)


async def test_one_bad_item_does_not_touch_its_neighbours(client: Portal, stack: Stack) -> None:
    names = ["generic-000", "fault-not-found", "generic-001", "fault-html", "generic-002"]
    results = await _imported(client, [_document(stack, name) for name in names])
    states = [result["state"] for result in results]
    assert states == ["ATTACHED", "FAILED", "ATTACHED", "FAILED", "ATTACHED"]


async def test_the_same_document_twice_in_a_job_gives_two_files_that_do_not_collide(
    client: Portal, stack: Stack
) -> None:
    files = [each["resource"] for each in await _imported(client, [_document(stack, "generic-004")] * 2)]
    assert len({file["id"] for file in files}) == len({file["name"] for file in files}) == 2
    assert await _download(client, files[0]) == await _download(client, files[1])


async def test_the_same_document_in_a_second_job_is_skipped(client: Portal, stack: Stack) -> None:
    (first,) = await _imported(client, [_document(stack, "generic-006")])
    (second,) = await _imported(client, [_document(stack, "generic-006")])
    assert (first["state"], second["state"]) == ("ATTACHED", "SKIPPED")
    assert first["resource"]["id"] == second["resource"]["id"]


async def test_research_documents_carry_their_study_and_participant(client: Portal, stack: Stack) -> None:
    await register_source(stack, client.http, "ncpi")
    (result,) = await _imported(client, [_document(stack, "GF-0001-0", "ncpi")])
    metadata = result["resource"]["metadata"]
    assert "SD-001" in metadata.values()
    assert "PT-0001" in metadata.values()


async def test_a_document_may_be_named_by_its_version(client: Portal, stack: Stack) -> None:
    results = await _imported(
        client,
        [_document(stack, "generic-008/_history/1"), _document(stack, "generic-008/_history/7")],
    )
    assert [result["state"] for result in results] == ["ATTACHED", "FAILED"]


async def test_protected_sources_are_read_with_their_own_credentials(client: Portal, stack: Stack) -> None:
    await _register_protected(client, stack)
    documents = [_document(stack, "bench-000777", "bearer"), _document(stack, "bench-000778", "oauth")]
    results = await _imported(client, documents)

    assert [result["state"] for result in results] == ["ATTACHED", "ATTACHED"]


async def test_a_protected_source_with_the_wrong_secret_refuses(client: Portal, stack: Stack) -> None:
    # The same server under another spelling of its address is another source, with credentials of its own.
    base = f"{stack.layout.source_url}/bearer/fhir".replace("127.0.0.1", "localhost")
    wrong = {"type": "bearer", "token": "not the token of this source"}
    await register_source(stack, client.http, "bearer wrong", base_url=base, auth=wrong)
    (result,) = await _imported(client, [f"{base}/DocumentReference/generic-000"])
    assert (result["error"]["code"], result["error"]["status"]) == ("source_refused", 401)
