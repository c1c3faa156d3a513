"""What a submitter is told of a submission: its status manifest, and an outcome for each of its manifests.

See "BulkSubmitStatusManifest" (Bulk Data Access 4.0.0, ballot).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sluice_contracts.events import JobOutcome
from sluice_contracts.words import counted
from sluice_gateway.fhir.outcomes import Issue, Severity
from sluice_gateway.fhir.pull_outcomes import error_text
from sluice_gateway.fhir.pull_store import PullRow
from sluice_gateway.fhir.pulls import ERRORS, INFORMATION
from sluice_gateway.fhir.submission_declared import SubmissionStatus
from sluice_gateway.fhir.submission_store import ManifestRow, SubmissionRow
from sluice_gateway.fhir.v3.manifest import instant
from sluice_gateway.hrefs import Hrefs

STATUS_PLACE = "bulksubmitstatus"
TYPE = "http://hl7.org/fhir/uv/bulkdata/StructureDefinition/BulkSubmitStatusManifest"
_OUTCOME = "OperationOutcome"

Imports = Mapping[str, PullRow | None]
"""Imports as they stand, by job; None: nothing is known of it yet."""


def file_name(number: int) -> str:
    """Give the name of the file with the outcome of a manifest."""
    return f"manifest_{number}.ndjson"


def ended(submission: SubmissionRow, manifest: ManifestRow, found: PullRow | None) -> bool:
    """Say whether nothing more will happen to a manifest."""
    if discarded(submission, manifest):
        return manifest.removed
    return found is not None and (found.outcome is not None or found.gone)


def discarded(submission: SubmissionRow, manifest: ManifestRow) -> bool:
    """Say whether what a manifest loaded is taken back."""
    return manifest.replaced_at is not None or submission.status is SubmissionStatus.STOPPED


def outcome_of(submission: SubmissionRow, manifest: ManifestRow, found: PullRow | None) -> Issue:
    """Say what has become of a manifest that has ended."""
    severity, text = _said(submission, manifest, found)
    code = "incomplete" if severity == "error" else "informational"
    return Issue(severity=severity, code=code, text=f"Manifest {manifest.number}: {text}")


def _said(submission: SubmissionRow, manifest: ManifestRow, found: PullRow | None) -> tuple[Severity, str]:
    if discarded(submission, manifest):
        others = submission.manifests
        successor = next((each.number for each in others if each.replaces == manifest.number), None)
        replaced = "" if successor is None else f" Manifest {successor} has replaced it."
        return "information", f"what was imported of it has been taken back.{replaced}"
    if found is None or found.gone:
        return "information", "its import was deleted; what was loaded stays."
    if found.outcome == JobOutcome.FAILED and found.files is None:
        status = "" if found.failed_status is None else f" The source answered {found.failed_status}."
        return "error", f"nothing was imported. {error_text(found.failed)}{status}"
    if found.outcome == JobOutcome.FAILED:
        are = counted(found.problems, "problem is", "problems are")
        return "error", f"it could not be imported; {are} listed."
    if found.problems:
        which = counted(found.problems, "problem, which is", "problems, which are")
        return "warning", f"imported, with {which} listed."
    return "information", "imported."


def status_manifest(
    submission: SubmissionRow, imports: Imports, base: str, hrefs: Hrefs, now: datetime
) -> dict[str, Any]:
    """Give the manifest of a submission as it stands: of those of its manifests that have ended.

    `error` lists again what in `outcome` is about problems, for clients of earlier drafts.
    """
    outcomes: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for manifest in submission.manifests:
        found = imports[manifest.job]
        if not ended(submission, manifest, found):
            continue
        issue = outcome_of(submission, manifest, found)
        place = f"{base}/{STATUS_PLACE}/{submission.id}/{file_name(manifest.number)}"
        own = {**_item(manifest, hrefs(place), 1), "countSeverity": [{"code": issue.severity, "count": 1}]}
        outcomes.append(own)
        if issue.severity == "error":
            errors.append(own)
        if discarded(submission, manifest) or found is None or found.gone or found.files is None:
            continue
        outcomes.append(_item(manifest, hrefs(f"{base}/{manifest.job}/{INFORMATION}"), found.files + 1))
        if found.problems:
            listed = _item(manifest, hrefs(f"{base}/{manifest.job}/{ERRORS}"), found.problems)
            outcomes.append(listed)
            errors.append(listed)
    return {
        "manifestType": TYPE,
        "submissionId": submission.name,
        "transactionTime": instant(now),
        "requiresAccessToken": True,
        "output": [],
        "outcome": outcomes,
        "error": errors,
    }


def _item(manifest: ManifestRow, url: str, count: int) -> dict[str, Any]:
    return {"type": _OUTCOME, "url": url, "manifestUrl": manifest.url, "count": count}
