"""Bulk submissions in memory, for a gateway without servers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import uuid4

from sluice_contracts.commands import StartBulkImport
from sluice_gateway.fhir.submission_declared import SubmissionStatus
from sluice_gateway.fhir.submission_parameters import SubmittedManifest, Submitter
from sluice_gateway.fhir.submission_store import ManifestRow, OpenSubmission, SubmissionRow

Key = tuple[str, str, Submitter]


class _Open:
    def __init__(self, row: SubmissionRow) -> None:
        self.row = row
        self.after = row

    def _manifests(self, manifests: Sequence[ManifestRow]) -> None:
        self.after = replace(self.after, manifests=list(manifests))

    async def add(self, manifest: SubmittedManifest, replaces: int | None, start: StartBulkImport) -> None:
        number = len(self.row.manifests) + 1
        added = ManifestRow(number, manifest.url, manifest.base, replaces, start.job, start, None, False)
        self._manifests([*self.after.manifests, added])

    async def discard(self, number: int, at: datetime) -> None:
        self._manifests(
            [
                replace(each, replaced_at=each.replaced_at or at) if each.number == number else each
                for each in self.after.manifests
            ]
        )

    async def end(self, status: SubmissionStatus, at: datetime) -> None:
        self.after = replace(self.after, status=status, ended_at=at)


@dataclass
class MemorySubmissions:
    """Submissions by who submits them; `removed` are the jobs whose data have been taken back."""

    rows: dict[Key, SubmissionRow] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def open(
        self, client: str, subject: str, submitter: Submitter, at: datetime
    ) -> AsyncGenerator[OpenSubmission]:
        key = (client, subject, submitter)
        status = SubmissionStatus.IN_PROGRESS
        new = SubmissionRow(str(uuid4()), client, subject, submitter.name, status, at, None, False, [])
        opened = _Open(self.rows.get(key, new))
        yield opened
        self.rows[key] = opened.after

    async def ask(self, client: str, subject: str, submitter: Submitter, at: datetime) -> str | None:
        key = (client, subject, submitter)
        if key not in self.rows:
            return None
        self.rows[key] = replace(self.rows[key], asked=True)
        return self.rows[key].id

    async def get(self, submission: str) -> SubmissionRow | None:
        for row in self.rows.values():
            if row.id == submission:
                found = [replace(each, removed=each.job in self.removed) for each in row.manifests]
                return replace(row, manifests=found)
        return None

    async def forget(self, submission: str) -> None:
        for key, row in self.rows.items():
            if row.id == submission:
                self.rows[key] = replace(row, asked=False)

    async def published(self, jobs: Sequence[str]) -> None:
        for key, row in self.rows.items():
            manifests = [replace(each, start=None) if each.job in jobs else each for each in row.manifests]
            self.rows[key] = replace(row, manifests=manifests)
