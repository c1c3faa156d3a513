"""The manifest of Bulk Data Access 3.0.0, section "Response - Output Manifest"."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sluice_contracts.exports import FileKind
from sluice_gateway.fhir.kickoff import ListedFile, Page


def written(page: Page) -> dict[str, Any]:
    """Give the manifest as JSON: lists that are empty are there all the same."""
    shown: dict[str, Any] = {
        "transactionTime": instant(page.transaction_time),
        "request": page.request,
        "requiresAccessToken": True,
    }
    if page.organized_by is not None:
        shown["outputOrganizedBy"] = page.organized_by
    for kind in FileKind:
        shown[kind.value] = [
            _item(file, organized=page.organized_by is not None) for file in page.files if file.kind is kind
        ]
    if page.following is not None:
        shown["link"] = [{"relation": "next", "url": page.following}]
    return shown


def instant(at: datetime) -> str:
    """Write a time as a FHIR instant, to the millisecond, which is how exact `meta.lastUpdated` is."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _item(file: ListedFile, *, organized: bool) -> dict[str, Any]:
    item: dict[str, Any] = {}
    # A file of blocks holds resources of all types; what it is organized by is said once, above.
    if file.type is not None and not (organized and file.kind is FileKind.OUTPUT):
        item["type"] = file.type
    item["url"] = file.url
    item["count"] = file.count
    if file.following is not None:
        item["continuesInFile"] = file.following
    item["extension"] = {"size": file.size, "sha256": file.sha256.hex()}
    return item
