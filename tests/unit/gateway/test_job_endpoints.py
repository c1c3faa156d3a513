"""Polling, listing, cancelling and running again: what owners see, and that nobody else sees anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from sluice_contracts.commands import (
    CancelDocumentImport,
    ConflictResolution,
    ImportItem,
    StartDocumentImport,
)
from sluice_contracts.errors import ERROR_TEXTS, ItemError
from sluice_contracts.ids import job_id
from sluice_contracts.progress import ItemRank
from sluice_contracts.topics import JOBS_DOCUMENT_IMPORT
from sluice_gateway.imports import ItemRow, Rerun
from sluice_storage.catalogue.model import Entry, EntryKind
from support.gateway_memory import BASE, FOLDER, PROJECT, ROOT, Site, job_row, memory_gateway, one_item

URL = "/v2/bulk/fhir"
AT = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with memory_gateway() as found:
        yield found


def given_id(site: Site, owner: str = "portal/ann", nonce: int = 7) -> str:
    return job_id(site.id_keys(), owner, site.now(), nonce)


async def submitted(site: Site) -> str:
    answer = await site.post(URL, json=one_item(), headers=site.bearer())
    return str((await answer.json())["id"])


def item(number: int, rank: ItemRank | None, **fields: Any) -> ItemRow:
    row = ItemRow(number, f"{BASE}/DocumentReference/{number}", rank, None, None, None, (), 0)
    return replace(row, **fields)


def stored_file(name: str) -> Entry:
    return Entry(
        id="c" * 24,
        project=PROJECT,
        parent=ROOT,
        kind=EntryKind.FILE,
        name=name,
        size=3,
        sha256=b"s" * 32,
        content_type="text/plain",
        metadata={"study_id": "1"},
        tags=("INCLUDE",),
        origin=None,
        created_on=AT,
        modified_on=AT,
    )


async def test_a_running_job_says_when_it_will_end_if_that_is_known(site: Site) -> None:
    running, other, over = (given_id(site, nonce=number) for number in range(3))
    rows = [job_row(running), job_row(other), job_row(over, state="FINISHED", outcome="completed")]
    for row in rows:
        site.jobs.add("portal", "ann", row)
    for job in (running, over):
        site.ends[job] = AT.timestamp()
    polled = [
        (await (await site.get(f"{URL}/{row.job}", headers=site.bearer())).json())["eta"] for row in rows
    ]
    listed = await (await site.get(URL, headers=site.bearer())).json()
    assert polled == ["2026-01-02T03:04:05Z", None, None]
    assert {each["id"]: each["eta"] for each in listed["items"]} == dict(
        zip((row.job for row in rows), polled, strict=True)
    )


async def test_a_job_is_known_to_its_owner_the_moment_it_is_accepted(site: Site) -> None:
    job = await submitted(site)
    answer = await site.get(f"{URL}/{job}", headers=site.bearer())
    body = await answer.json()
    assert answer.status == 200
    assert (body["id"], body["state"], body["result"], body["finished_on"]) == (job, "SUBMITTED", [], None)


async def test_an_id_without_a_row_is_known_while_its_command_is_kept_and_then_never_was(site: Site) -> None:
    job = await submitted(site)
    assert JOBS_DOCUMENT_IMPORT.retention is not None
    site.now.at += JOBS_DOCUMENT_IMPORT.retention.total_seconds() - 10
    for path in (URL, "/v2/jobs"):
        assert (await site.get(f"{path}/{job}", headers=site.bearer())).status == 200
    site.now.at += 20
    for path in (URL, "/v2/jobs"):
        assert (await site.get(f"{path}/{job}", headers=site.bearer())).status == 404


async def test_a_row_is_found_however_old_it_is_and_whatever_key_signed_its_id(site: Site) -> None:
    job = "00000000-0000-8000-8000-000000000001"
    site.jobs.add("portal", "ann", job_row(job))
    assert (await site.get(f"{URL}/{job}", headers=site.bearer())).status == 200


@pytest.mark.parametrize("who", [{"subject": "bob"}, {"client": "other"}])
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_to_anyone_but_its_owner_a_job_does_not_exist(
    site: Site, who: dict[str, str], method: str
) -> None:
    unseen, seen = await submitted(site), given_id(site, nonce=99)
    site.jobs.add("portal", "ann", job_row(seen))
    unknown = given_id(site, owner="some/body", nonce=100)
    before = len(site.accepted())
    answers = []
    for job in (unseen, seen, unknown, "nonsense"):
        path = f"{URL}/{job}" + ("/actions/rerun" if method == "POST" else "")
        answer = await site.call(method, path, headers=site.bearer(**who))
        answers.append((answer.status, await answer.text()))
    assert len(set(answers)) == 1
    assert answers[0][0] == 404
    assert len(site.accepted()) == before


async def test_results_are_in_item_order_with_file_or_error(site: Site) -> None:
    job = given_id(site)
    site.catalogue.entries.entries["c" * 24] = stored_file("a.txt")
    items = [
        item(0, ItemRank.ATTACHED, file="c" * 24),
        item(1, ItemRank.FAILED, code="document_not_found", source_status=404),
        item(2, ItemRank.FAILED, code="source_refused", source_status=401),
        item(3, ItemRank.FAILED, code="no_content"),
        item(4, ItemRank.SKIPPED, file="c" * 24),
        item(5, ItemRank.RETRYING, code="source_throttled"),
        item(6, None),
        item(7, ItemRank.FAILED, code="a-code-of-a-newer-service"),
        item(8, ItemRank.ATTACHED, file="d" * 24),
    ]
    site.jobs.add(
        "portal", "ann", job_row(job, items=9, attached=2, failed=4, skipped=1, started_at=AT), items
    )
    body = await (await site.get(f"{URL}/{job}", headers=site.bearer())).json()
    assert [entry["item"] for entry in body["result"]] == list(range(9))
    states = "ATTACHED FAILED FAILED FAILED SKIPPED RETRYING PENDING FAILED ATTACHED"
    assert [entry["state"] for entry in body["result"]] == states.split()
    assert body["result"][0]["resource"]["name"] == "a.txt"
    assert body["result"][0]["resource"]["metadata"] == {"study_id": "1"}
    assert body["result"][0]["resource"]["created_on"] == "2026-01-02T03:04:05Z"
    assert body["result"][0]["error"] is None
    assert body["result"][0]["fhir_document_reference"] == f"{BASE}/DocumentReference/0"
    text = ERROR_TEXTS[ItemError.DOCUMENT_NOT_FOUND]
    assert body["result"][1]["error"] == {
        "status": 404,
        "code": "document_not_found",
        "message": text.message,
        "more_info": text.more_info,
    }
    assert body["result"][2]["error"]["status"] == 401
    assert body["result"][3]["error"]["status"] == 422
    assert body["result"][4]["resource"]["id"] == "c" * 24
    assert body["result"][5]["error"] is None
    assert body["result"][7]["error"]["code"] == "internal"
    assert body["result"][8]["resource"] is None
    assert body["counts"] == {
        "total": 9,
        "attached": 2,
        "skipped": 1,
        "failed": 4,
        "cancelled": 0,
        "pending": 2,
    }


async def test_results_are_paged_with_links_and_the_length_of_the_whole(site: Site) -> None:
    job = given_id(site)
    items = [item(number, None) for number in range(5)]
    site.jobs.add("portal", "ann", job_row(job, items=5, started_at=AT), items)
    answer = await site.get(f"{URL}/{job}?limit=2&offset=2", headers=site.bearer())
    body = await answer.json()
    assert answer.headers["X-Total-Matching-Query"] == "5"
    assert [entry["item"] for entry in body["result"]] == [2, 3]
    links = {link["rel"]: link["href"] for link in body["links"]}
    assert links == {
        "next": f"https://api.test{URL}/{job}?offset=4&limit=2",
        "prev": f"https://api.test{URL}/{job}?offset=0&limit=2",
    }


@pytest.mark.parametrize("query", ["limit=-1", "limit=101", "limit=x", "offset=-1", "offset=99999999999"])
async def test_a_page_out_of_bounds_is_refused(site: Site, query: str) -> None:
    answer = await site.get(f"{URL}?{query}", headers=site.bearer())
    assert (answer.status, (await answer.json())["code"]) == (400, "invalid_request")


async def test_items_of_a_cancelled_job_that_had_not_ended_are_cancelled(site: Site) -> None:
    job = given_id(site)
    row = job_row(job, state="FINISHED", outcome="cancelled", cancelled=3, started_at=AT, finished_at=AT)
    site.jobs.add(
        "portal", "ann", row, [item(0, None), item(1, ItemRank.FETCHED), item(2, ItemRank.CANCELLED)]
    )
    body = await (await site.get(f"{URL}/{job}", headers=site.bearer())).json()
    assert (body["state"], body["outcome"]) == ("FINISHED", "cancelled")
    assert {entry["state"] for entry in body["result"]} == {"CANCELLED"}
    assert {entry["error"]["code"] for entry in body["result"]} == {"cancelled"}


async def test_only_ones_own_jobs_are_listed_newest_first(site: Site) -> None:
    for number in range(3):
        row = job_row(given_id(site, nonce=number), submitted_at=datetime(2026, 1, 1 + number, tzinfo=UTC))
        site.jobs.add("portal", "ann", row)
    site.jobs.add("portal", "bob", job_row(given_id(site, nonce=50)))
    answer = await site.get(f"{URL}?limit=2", headers=site.bearer())
    body = await answer.json()
    assert answer.headers["X-Total-Matching-Query"] == "3"
    assert [job["submitted_on"][:10] for job in body["items"]] == ["2026-01-03", "2026-01-02"]
    assert [link["rel"] for link in body["links"]] == ["next"]


async def test_cancelling_publishes_the_command_and_ended_jobs_stay_as_they_are(site: Site) -> None:
    running, ended = given_id(site, nonce=1), given_id(site, nonce=2)
    site.jobs.add("portal", "ann", job_row(running))
    site.jobs.add("portal", "ann", job_row(ended, state="FINISHED", outcome="completed", finished_at=AT))
    first = await site.call("DELETE", f"{URL}/{running}", headers=site.bearer(), json={})
    second = await site.call("DELETE", f"{URL}/{ended}", headers=site.bearer())
    assert (first.status, second.status) == (202, 200)
    assert site.accepted() == [CancelDocumentImport(job=running)]


async def test_a_job_may_be_cancelled_before_it_has_a_row_and_the_cancellation_comes_after_it(
    site: Site,
) -> None:
    job = await submitted(site)
    assert (await site.call("DELETE", f"{URL}/{job}", headers=site.bearer())).status == 202
    start, cancel = site.accepted()
    assert isinstance(start, StartDocumentImport)
    assert cancel == CancelDocumentImport(job=job)
    records = site.broker.records("jobs.document-import")
    assert len({(record.partition, record.key) for record in records}) == 1


async def test_running_again_submits_only_the_failed_items_to_the_same_folders(site: Site) -> None:
    job = given_id(site)
    site.jobs.add("portal", "ann", job_row(job, state="FINISHED", outcome="completed", finished_at=AT))
    again = ImportItem(
        reference=f"{BASE}/DocumentReference/2",
        source="gone-since",
        project=PROJECT,
        folder=FOLDER,
        name="b",
        metadata={"k": 1},
    )
    site.jobs.reruns[job] = Rerun(ConflictResolution.OVERWRITE, ("t",), (again,))
    answer = await site.post(f"{URL}/{job}/actions/rerun", headers=site.bearer())
    assert answer.status == 202
    (start,) = site.accepted()
    assert isinstance(start, StartDocumentImport)
    assert start.job == (await answer.json())["id"] != job
    assert start.items == (
        ImportItem(
            reference=again.reference,
            source="one",
            project=PROJECT,
            folder=FOLDER,
            name="b",
            metadata={"k": 1},
        ),
    )
    assert (start.conflict_resolution, start.tags) == (ConflictResolution.OVERWRITE, ("t",))


async def test_only_a_finished_job_with_failures_is_run_again(site: Site) -> None:
    running, sound = given_id(site, nonce=1), given_id(site, nonce=2)
    site.jobs.add("portal", "ann", job_row(running))
    site.jobs.add("portal", "ann", job_row(sound, state="FINISHED", outcome="completed", finished_at=AT))
    site.jobs.reruns[sound] = Rerun(ConflictResolution.SKIP, (), ())
    codes = []
    for job in (running, sound):
        answer = await site.post(f"{URL}/{job}/actions/rerun", headers=site.bearer())
        codes.append((answer.status, (await answer.json())["code"]))
    assert codes == [(409, "job_not_finished"), (409, "nothing_failed")]
    assert site.accepted() == []


async def test_an_ended_imports_files_are_recorded_and_a_running_ones_polls_are_not(site: Site) -> None:
    job = given_id(site)
    site.catalogue.entries.entries["c" * 24] = stored_file("a.txt")
    items = [item(0, ItemRank.ATTACHED, file="c" * 24), item(1, ItemRank.FAILED, code="no_content")]
    running = job_row(job, items=2, attached=1, started_at=AT)
    site.jobs.add("portal", "ann", running, items)
    assert (await site.get(f"{URL}/{job}", headers=site.bearer())).status == 200
    assert site.audit == []
    ended = replace(running, state="FINISHED", outcome="completed", finished_at=AT)
    site.jobs.add("portal", "ann", ended, items)
    assert (await site.get(f"{URL}/{job}", headers=site.bearer())).status == 200
    (told,) = site.audit
    assert (told.act, told.kind, told.entity, told.ids) == ("disclose", "file", None, ("c" * 24,))
    assert (told.job, told.items, told.subject) == (job, 1, "ann")
