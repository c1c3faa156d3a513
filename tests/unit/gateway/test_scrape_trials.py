"""Scrape schemas over HTTP: which there are, and what one makes of a document."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from sluice_contracts.errors import ItemError
from sluice_fhir.client import FetchedResource
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from support.gateway_memory import BASE, error_shape, memory_gateway

URL = "/v2/fhir/scrape-schemas"
DOCUMENT = {
    "resourceType": "DocumentReference",
    "id": "1",
    "status": "current",
    "subject": {"reference": "Patient/p1"},
    "content": [{"attachment": {"contentType": "application/pdf", "title": "T"}}],
}
PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female"}


@dataclass
class Client:
    """Gives what a source has; whatever it has not is a 404 there."""

    resources: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failure: SourceFailure = field(default_factory=lambda: SourceFailure(ItemError.DOCUMENT_NOT_FOUND, 404))

    async def get_json(self, _source: Source, url: str, *, expected: str) -> FetchedResource:
        self.asked.append(url)
        found = self.resources.get(url.removeprefix(BASE + "/"))
        if found is None:
            raise self.failure
        return FetchedResource(json.dumps(found).encode(), expected, found["id"], None, None)


def document(**fields: Any) -> dict[str, Any]:
    return {"fhir_document_reference": f"{BASE}/DocumentReference/1", "schema": "generic-r4", **fields}


async def test_the_schemas_are_listed_with_the_keys_that_they_make() -> None:
    async with memory_gateway() as site:
        body = await (await site.get(URL, headers=site.bearer())).json()
    names = [schema["name"] for schema in body["items"]]
    assert names == sorted(names)
    assert "generic-r4" in names
    assert all(key["key"] for schema in body["items"] for key in schema["keys"])


async def test_a_trial_shows_the_metadata_and_what_was_read_for_it() -> None:
    client = Client({"DocumentReference/1": DOCUMENT, "Patient/p1": PATIENT})
    async with memory_gateway(fhir=client) as site:
        asked = document(metadata={"study_id": "mine"})
        answer = await site.post(URL + "/actions/dry-run", json=asked, headers=site.bearer())
        body = await answer.json()
        assert answer.status == 200, body
        assert site.accepted() == []
    assert body["schema"].startswith("generic-r4")
    assert body["metadata"]["study_id"] == "mine"
    assert "female" in body["metadata"].values()
    assert "Patient/p1" in [request["url"] for request in body["requests"]]
    assert all(url.startswith(BASE + "/") for url in client.asked)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"schema": "no-such-schema"}, "schema"),
        ({"fhir_document_reference": "https://elsewhere.example/DocumentReference/1"}, "registered source"),
        ({"fhir_document_reference": "nonsense"}, "fhir_document_reference"),
        ({"metadata": {"a": {}}}, "metadata"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_trial_that_cannot_be_is_refused_and_nothing_is_read(
    change: dict[str, Any], field: str
) -> None:
    client = Client()
    async with memory_gateway(fhir=client) as site:
        answer = await site.post(URL + "/actions/dry-run", json=document(**change), headers=site.bearer())
        body = await answer.json()
    assert answer.status == 400
    assert field in error_shape(body).message
    assert client.asked == []


async def test_a_document_that_the_source_does_not_give_is_said_so_in_the_words_of_an_item() -> None:
    away = SourceFailure(ItemError.SOURCE_UNAVAILABLE, 503, retry=True)
    absent = SourceFailure(ItemError.DOCUMENT_NOT_FOUND, 404)
    for failure, status in ((absent, 422), (away, 502)):
        async with memory_gateway(fhir=Client(failure=failure)) as site:
            answer = await site.post(URL + "/actions/dry-run", json=document(), headers=site.bearer())
            body = await answer.json()
        assert (answer.status, body["code"]) == (status, failure.code)


async def test_trials_count_as_bulk_requests() -> None:
    client = Client({"DocumentReference/1": DOCUMENT})
    async with memory_gateway(fhir=client, bulk_limit=1) as site:
        statuses = [
            (await site.post(URL + "/actions/dry-run", json=document(), headers=site.bearer())).status
            for _ in range(2)
        ]
    assert statuses == [200, 429]
