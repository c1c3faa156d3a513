"""Bulk imports in memory, for a gateway without servers: what puller and status service would tell."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from sluice_gateway.fhir.pull_store import BadLine, PulledFile, PullRow, Unresolved
from sluice_storage.resources.brought import Scope
from sluice_storage.resources.model import PatientChunk, Range
from sluice_storage.resources.writer import Key

AT = datetime(2026, 1, 2, tzinfo=UTC)
RUNNING = PullRow.accepted("portal", "ann", AT)
FILE = PulledFile(
    item=0,
    kind="output",
    type="Patient",
    expected=None,
    failed=None,
    failed_status=None,
    read=3,
    created=2,
    updated=0,
    unchanged=0,
    stale=0,
    invalid=1,
    deleted=0,
    size=99,
    nameless=0,
    listed=1,
)


@dataclass
class MemoryPulls:
    """Imports' rows, with files and bad lines of each."""

    rows: dict[str, PullRow] = field(default_factory=dict)
    listed: dict[str, list[PulledFile]] = field(default_factory=dict)
    bad: dict[tuple[str, int], list[BadLine]] = field(default_factory=dict)
    dangling: dict[str, list[Unresolved]] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)

    def add(self, job: str, *files: PulledFile, **fields: object) -> None:
        """Add an import that runs, with `fields` of its row replaced."""
        self.rows[job] = replace(RUNNING, **fields)  # type: ignore[arg-type] # the caller names fields
        self.listed[job] = list(files)

    async def get(self, job: str) -> PullRow | None:
        row = self.rows.get(job)
        if job in self.withdrawn:
            return replace(row or RUNNING, gone=True)
        return row

    async def files(self, job: str, after: int, limit: int) -> Sequence[PulledFile]:
        return [each for each in self.listed.get(job, []) if each.item > after][:limit]

    async def lines(self, job: str, item: int, after: int, limit: int) -> Sequence[BadLine]:
        return [each for each in self.bad.get((job, item), []) if each.line > after][:limit]

    async def unresolved(self, job: str) -> Sequence[Unresolved]:
        return self.dangling.get(job, [])

    async def patients(self, job: str, after: str, limit: int) -> Sequence[str]:
        return []

    async def kept(self, job: str) -> Mapping[str, Sequence[Range]]:
        return {}

    async def withdraw(self, job: str, at: datetime) -> bool:
        first = job not in self.withdrawn
        self.withdrawn.add(job)
        return first


@dataclass
class MemoryBrought:
    """What imports brought: some resources about nobody, the same for all."""

    lines: bytes = b""

    async def scope(self, job: str, kept: Mapping[str, Iterable[Range]]) -> Scope:
        return Scope({})

    async def by_patient(self, scope: Scope, patients: Sequence[str]) -> AsyncGenerator[PatientChunk]:
        if patients:
            yield PatientChunk(patients[0], "Patient", b"", 0)

    async def of_nobody(self, scope: Scope) -> AsyncGenerator[bytes]:
        if self.lines:
            yield self.lines

    async def of_nobody_by_id(self, scope: Scope, keys: Iterable[Key]) -> AsyncGenerator[bytes]:
        if keys:
            yield b""
