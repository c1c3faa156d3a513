"""What `$bulk-submit` and `$bulk-submit-status` are asked for: what is wrong is told, and nothing is done."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from sluice_gateway.fhir.submission_parameters import read_status_request, read_submission
from support.gateway_memory import BASE, memory_gateway

GOOD: dict[str, dict[str, Any]] = {
    "submitter": {"valueIdentifier": {"system": "https://submitters.example.org", "value": "ward-3"}},
    "submissionId": {"valueString": "2026-01"},
    "submissionStatus": {"valueCoding": {"code": "in-progress"}},
    "manifestUrl": {"valueUrl": f"{BASE}/manifest.json"},
    "fhirBaseUrl": {"valueUrl": BASE},
}
HEADERS = {"Content-Type": "application/fhir+json"}


def body(*more: tuple[str, dict[str, Any]], without: tuple[str, ...] = (), **changed: dict[str, Any]) -> str:
    given = [(name, changed.get(name, value)) for name, value in GOOD.items() if name not in without]
    listed = [{"name": name, **value} for name, value in (*given, *more)]
    return json.dumps({"resourceType": "Parameters", "parameter": listed})


def headers(**parts: str) -> tuple[str, dict[str, Any]]:
    listed = [{"name": name, "valueString": value} for name, value in parts.items()]
    return "fileRequestHeader", {"part": listed}


KEY = {"name": "value", "valueString": "a.b.c.d.e"}
WRONG = {
    "no submitter": (body(without=("submitter",)), "submitter"),
    "a submitter that is a text": (body(submitter={"valueString": "ward-3"}), "submitter"),
    "a submitter without a value": (body(submitter={"valueIdentifier": {"system": "x"}}), "submitter"),
    "no submissionId": (body(without=("submissionId",)), "submissionId"),
    "an empty submissionId": (body(submissionId={"valueString": " "}), "submissionId"),
    "a long submissionId": (body(submissionId={"valueString": "x" * 256}), "submissionId"),
    "two submissionIds": (body(("submissionId", {"valueString": "y"})), "submissionId"),
    "an unknown status": (body(submissionStatus={"valueCoding": {"code": "done"}}), "submissionStatus"),
    "a status of another system": (
        body(submissionStatus={"valueCoding": {"system": "https://x.example", "code": "stopped"}}),
        "submissionStatus",
    ),
    "neither status nor manifest": (
        body(without=("submissionStatus", "manifestUrl", "fhirBaseUrl")),
        "submissionStatus",
    ),
    "a manifest without its base": (body(without=("fhirBaseUrl",)), "fhirBaseUrl"),
    "a relative manifest": (body(manifestUrl={"valueUrl": "manifest.json"}), "manifestUrl"),
    "a manifest that is a file": (body(manifestUrl={"valueUrl": "file:///etc/passwd"}), "manifestUrl"),
    "a manifest that replaces itself": (
        body(("replacesManifestUrl", GOOD["manifestUrl"])),
        "replacesManifestUrl",
    ),
    "another format": (body(("outputFormat", {"valueString": "text/csv"})), "outputFormat"),
    "a header field without parts": (body(("fileRequestHeader", {"part": []})), "fileRequestHeader"),
    "a header field without a value": (body(headers(headerName="x")), "fileRequestHeader"),
    "a header field with more to it": (
        body(headers(headerName="x", headerValue="y", z="z")),
        "fileRequestHeader",
    ),
    "many header fields": (body(*[headers(headerName="x", headerValue="y")] * 17), "fileRequestHeader"),
    "a header field that is not permitted": (
        body(headers(headerName="x", headerValue="y")),
        "fileRequestHeader",
    ),
    "a key without a value": (body(("fileEncryptionKey", {"part": []})), "fileEncryptionKey"),
    "a key of another kind": (
        body(("fileEncryptionKey", {"part": [{"name": "coding", "valueCoding": {"code": "pgp"}}, KEY]})),
        "fileEncryptionKey",
    ),
    "a key that nobody encrypted for us": (body(("fileEncryptionKey", {"part": [KEY]})), "fileEncryptionKey"),
    "an authorization server that is no address": (
        body(("oauthMetadataUrl", {"valueUrl": "here"})),
        "oauthMetadataUrl",
    ),
    "a token from a source without credentials": (
        body(("oauthMetadataUrl", {"valueUrl": BASE})),
        "oauthMetadataUrl",
    ),
    "an unknown parameter": (body(("colour", {"valueString": "red"})), "parameter[5]"),
}


@pytest.mark.parametrize("case", WRONG)
async def test_what_is_wrong_is_named_and_nothing_is_recorded(case: str) -> None:
    asked, name = WRONG[case]
    async with memory_gateway() as site:
        headers = {**HEADERS, **site.bearer(scopes="bulk/import")}
        answer = await site.post("/fhir/$bulk-submit", data=asked, headers=headers)
        outcome = await answer.json(content_type=None)
        assert answer.status == 400, outcome
        assert outcome["resourceType"] == "OperationOutcome"
        assert any(name in place for issue in outcome["issue"] for place in issue["expression"])
        assert "colour" not in str(outcome)
        asking = body(without=("submissionStatus", "manifestUrl", "fhirBaseUrl")).encode()
        at = datetime.fromtimestamp(site.now.at, UTC)
        assert await site.submissions.ask("portal", "ann", read_status_request(asking), at) is None


async def test_a_manifest_on_a_server_that_is_not_registered_is_refused_and_nothing_is_recorded() -> None:
    elsewhere = {"valueUrl": "https://elsewhere.example/manifest.json"}
    async with memory_gateway() as site:
        headers = {**HEADERS, **site.bearer(scopes="bulk/import")}
        answer = await site.post("/fhir/$bulk-submit", data=body(manifestUrl=elsewhere), headers=headers)
        assert answer.status == 400
        status = await site.post(
            "/fhir/$bulk-submit-status",
            data=body(without=("submissionStatus", "manifestUrl", "fhirBaseUrl")),
            headers={**headers, "Prefer": "respond-async"},
        )
        assert status.status == 404


@pytest.mark.parametrize(
    ("code", "means"), [("complete", "completed"), ("aborted", "stopped"), ("completed", "completed")]
)
def test_codes_of_earlier_drafts_mean_the_same(code: str, means: str) -> None:
    read = read_submission(body(submissionStatus={"valueCoding": {"code": code}}).encode())
    assert read.status == means


def test_what_has_no_effect_is_said() -> None:
    read = read_submission(body(("oauthMetadataUrl", {"valueUrl": BASE})).encode())
    assert len(read.notes) == 1
