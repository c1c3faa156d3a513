"""Every fault that a source can play, through the whole stack: the item ends as the table says."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sluice_contracts.errors import ERROR_TEXTS
from sluice_stack.source import rules
from sluice_stack.source.faults import FAULTS
from sluice_stack.stack import Stack
from support.stack_api import Portal, portal

# Those that take all retries or long time-outs have tests of their own beside the services.
QUICK = [fault for fault in FAULTS if not fault.slow]


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Portal]:
    async with portal(stack) as made:
        yield made


def _document(client: Portal, name: str, base: str = "r4") -> str:
    return f"{client.source}/{base}/fhir/DocumentReference/{name}"


async def _download(client: Portal, file: dict[str, Any]) -> bytes:
    info = await client.call("GET", f"{file['href']}/download_info")
    async with aiohttp.ClientSession() as http, http.get(info["url"]) as response:
        assert response.status == 200
        return await response.read()


async def test_every_fault_ends_its_item_as_the_table_says(client: Portal) -> None:
    job = await client.submit([_document(client, fault.document("table")) for fault in QUICK])

    shown = await client.finished(job)

    got = {
        fault.kind: result["error"] and result["error"]["code"]
        for fault, result in zip(QUICK, shown["result"], strict=True)
    }
    assert got == {fault.kind: fault.error and fault.error.value for fault in QUICK}


async def test_a_failed_item_shows_the_status_of_its_source(client: Portal) -> None:
    refused = [fault for fault in QUICK if fault.status and fault.status >= 400]
    job = await client.submit([_document(client, fault.document("status")) for fault in refused])

    shown = await client.finished(job)

    assert [each["error"]["status"] for each in shown["result"]] == [fault.status for fault in refused]


async def test_what_a_source_said_is_in_no_error(client: Portal) -> None:
    job = await client.submit([_document(client, fault.document("words")) for fault in QUICK])

    shown = await client.finished(job)

    errors = [result["error"] for result in shown["result"] if result["error"]]
    known = {(text.message, text.more_info) for text in ERROR_TEXTS.values()}
    assert {(error["message"], error["more_info"]) for error in errors} <= known


async def test_a_fault_that_passes_leaves_the_whole_file(client: Portal) -> None:
    passing = [fault for fault in QUICK if fault.error is None]
    job = await client.submit([_document(client, fault.document("whole")) for fault in passing])

    shown = await client.finished(job)

    bodies = [await _download(client, result["resource"]) for result in shown["result"]]
    digest = hashlib.sha256(rules.bench_content(0)).hexdigest()
    assert {hashlib.sha256(body).hexdigest() for body in bodies} == {digest}


async def test_one_bad_item_does_not_touch_its_neighbours(client: Portal) -> None:
    names = ["generic-000", "fault-not-found", "generic-001", "fault-html", "generic-002"]
    shown = await client.finished(await client.submit([_document(client, name) for name in names]))
    states = [result["state"] for result in shown["result"]]
    assert states == ["ATTACHED", "FAILED", "ATTACHED", "FAILED", "ATTACHED"]


async def test_the_same_document_twice_in_a_job_gives_two_files_that_do_not_collide(client: Portal) -> None:
    shown = await client.finished(await client.submit([_document(client, "generic-004")] * 2))
    files = [result["resource"] for result in shown["result"]]
    assert len({file["id"] for file in files}) == len({file["name"] for file in files}) == 2
    assert await _download(client, files[0]) == await _download(client, files[1])


async def test_the_same_document_in_a_second_job_is_skipped(client: Portal) -> None:
    first = await client.finished(await client.submit([_document(client, "generic-006")]))
    second = await client.finished(await client.submit([_document(client, "generic-006")]))
    assert [job["result"][0]["state"] for job in (first, second)] == ["ATTACHED", "SKIPPED"]
    assert len({job["result"][0]["resource"]["id"] for job in (first, second)}) == 1


async def test_research_documents_carry_their_study_and_participant(client: Portal) -> None:
    shown = await client.finished(await client.submit([_document(client, "GF-0001-0", "ncpi")]))
    metadata = shown["result"][0]["resource"]["metadata"]
    assert "SD-001" in metadata.values()
    assert "PT-0001" in metadata.values()
