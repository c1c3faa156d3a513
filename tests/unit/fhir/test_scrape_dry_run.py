"""A dry run shows what an import would yield, what was read for it and what was not there."""

from __future__ import annotations

import msgspec
import pytest

from sluice_contracts.errors import ItemError
from sluice_fhir.scrape_dry_run import DryRunRequest, DryRunWarning, NotADocumentError, dry_run
from sluice_security.failure import SourceFailure
from support.scrape_source import BASE, MemorySource, document, plan_of

PLAN = plan_of(
    {
        "follow": {
            "patient": {"reference": "subject", "type": "Patient"},
            "custodian": {"reference": "custodian", "type": "Organization"},
        },
        "values": [
            {"key": "status", "path": "status"},
            {"key": "gender", "from": "patient", "path": "gender", "required": True},
            {"key": "hospital", "from": "custodian", "path": "name"},
        ],
    }
)
DOCUMENT = document(
    subject={"reference": "Patient/p1"}, custodian={"reference": "https://other.example/Organization/1"}
)


async def test_a_dry_run_of_a_reference_reads_the_document_first() -> None:
    source = MemorySource(DOCUMENT, {"resourceType": "Patient", "id": "p1", "gender": "male"})
    for reference in ("DocumentReference/d1", f"{BASE}/DocumentReference/d1".replace("fhir.", "FHIR.", 1)):
        result = await dry_run(PLAN, source, BASE + "/", reference, metadata={"own": 1})
        assert result.metadata == {"status": "current", "gender": "male", "own": 1}
        assert result.schema == "test@1.0.0"
        assert result.requests == (
            DryRunRequest(follow="document", url="DocumentReference/d1", outcome="read", resources=1),
            DryRunRequest(
                follow="custodian",
                url="https://other.example/Organization/1",
                outcome="not_on_this_source",
                resources=0,
            ),
            DryRunRequest(follow="patient", url="Patient/p1", outcome="read", resources=1),
        )
        assert result.warnings == (DryRunWarning(code="not_on_this_source", follow="custodian"),)
    assert source.reads.count("Patient/p1") == 2, "nothing is remembered between dry runs"


async def test_a_dry_run_warns_of_what_could_not_be_read_also_for_now() -> None:
    source = MemorySource()
    source.failures["Patient/p1"] = SourceFailure(ItemError.SOURCE_UNAVAILABLE, 503, retry=True)
    result = await dry_run(PLAN, source, BASE, msgspec.json.encode(DOCUMENT))
    assert result.metadata == {"status": "current"}
    assert DryRunWarning(code="missing", key="gender") in result.warnings
    assert DryRunWarning(code="source_unavailable", follow="patient") in result.warnings


async def test_a_dry_run_of_a_document_that_cannot_be_read_says_why() -> None:
    with pytest.raises(SourceFailure, match="document_not_found"):
        await dry_run(PLAN, MemorySource(), BASE, "DocumentReference/none")


@pytest.mark.parametrize(
    "given", [b"{}", b"x", "Patient/1", "https://other.example/DocumentReference/1", "DocumentReference/.."]
)
async def test_a_dry_run_of_no_document_is_refused(given: bytes | str) -> None:
    with pytest.raises(NotADocumentError):
        await dry_run(PLAN, MemorySource(), BASE, given)
