"""Exports, grants, groups and patients in memory, for a gateway without servers; files are in a folder."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from obstore.store import LocalStore, MemoryStore

from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest, FileKind
from sluice_gateway.fhir.export_store import Admission, ExportRow, FileRow
from sluice_gateway.fhir.exports import ExportPorts
from sluice_storage.access.model import Grant, GranteeKind
from sluice_storage.encryption.framing import sealed
from sluice_storage.exports.downloads import DeletedJobError
from sluice_storage.exports.objects import ExportObjects, data_key_name
from sluice_storage.resources.model import Group, Member, Stored
from support.object_stores import KEYS

AT = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class MemoryGrants:
    rows: list[Grant] = field(default_factory=list)

    def give(self, grantee: str, kind: GranteeKind = GranteeKind.USER, **fields: Any) -> None:
        """Grant all patients, or what is given."""
        chosen = {"all_patients": "group" not in fields, **fields}
        number = f"{len(self.rows)}"
        self.rows.append(
            Grant(id=number, grantee_kind=kind, grantee=grantee, granted_by="op", granted_at=AT, **chosen)
        )

    async def of(self, client: str, subject: str) -> tuple[Grant, ...]:
        kind = GranteeKind.CLIENT if client == subject else GranteeKind.USER
        return tuple(row for row in self.rows if (row.grantee_kind, row.grantee) == (kind, subject))


@dataclass
class MemoryGroups:
    rows: dict[str, set[str]] = field(default_factory=dict)

    async def get(self, group: str) -> Group | None:
        members = self.rows.get(group)
        return None if members is None else Group(group, group, "api", AT, len(members))

    async def members(self, group: str) -> tuple[Member, ...]:
        return tuple(Member(name, AT) for name in sorted(self.rows.get(group, ())))


@dataclass
class MemoryLookup:
    patients: set[str] = field(default_factory=set)

    async def read_many(self, type_: str, ids: Sequence[str]) -> dict[str, Stored]:
        return {
            name: Stored(type_, name, 1, AT, deleted=False, body=b"{}", patients=frozenset({name}))
            for name in ids
            if name in self.patients
        }


@dataclass
class MemoryExports:
    """Exports' rows: what the exporter, the status service and the expirer would have written."""

    rows: dict[str, ExportRow] = field(default_factory=dict)
    listed: dict[str, list[tuple[int, FileRow]]] = field(default_factory=dict)
    admitted: dict[str, Admission] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    asked: int = 0

    def add(self, job: str, client: str = "portal", subject: str = "ann", **fields: Any) -> ExportRow:
        """Add an export that runs, planned into one part, with `fields` replaced."""
        row = ExportRow(
            client=client,
            subject=subject,
            request=ExportRequest(level=ExportLevel.SYSTEM, url="https://sluice.test/fhir/$export"),
            access=ExportAccess(all_patients=True, types=("Patient", "Observation")),
            transaction_time=AT,
            parts=1,
            planned=True,
            sealed=0,
            outcome=None,
            finished_at=None,
            expires_at=None,
            submitted_at=AT,
            gone=False,
        )
        self.rows[job] = replace(row, **fields)
        return self.rows[job]

    def end(self, job: str, at: datetime, outcome: str = "completed") -> None:
        """End an export at that time."""
        self.rows[job] = replace(
            self.rows[job], outcome=outcome, finished_at=at, expires_at=at + timedelta(days=7)
        )

    async def get(self, job: str) -> ExportRow | None:
        self.asked += 1
        row = self.rows.get(job)
        gone = job in self.withdrawn
        return replace(row, gone=True) if row is not None and gone else self._tombstone(job) or row

    def _tombstone(self, job: str) -> ExportRow | None:
        if job not in self.withdrawn:
            return None
        return ExportRow("", "", None, None, None, 0, False, 0, None, None, None, None, True)

    async def files(self, job: str, start: int, end: int | None) -> Sequence[FileRow]:
        return [
            file
            for place, file in self.listed.get(job, [])
            if place >= start and (end is None or place < end)
        ]

    async def file(self, job: str, part: int, n: int) -> tuple[ExportRow | None, FileRow | None]:
        found = [file for _, file in self.listed.get(job, []) if (file.part, file.n) == (part, n)]
        return await self.get(job), found[0] if found else None

    async def admit(
        self, admission: Admission, at: datetime, *, most: int, once: bool
    ) -> tuple[bool, str | None]:
        own = [
            each
            for each in self.admitted.values()
            if (each.client, each.subject) == (admission.client, admission.subject)
            and each.job not in self.withdrawn
        ]
        twin = next((each.job for each in own if each.request == admission.request), None)
        if once and twin is not None:
            return False, twin
        if len([each for each in own if not self._ended(each.job)]) >= most:
            return False, None
        self.admitted[admission.job] = admission
        return True, None

    def _ended(self, job: str) -> bool:
        return job in self.rows and self.rows[job].outcome is not None

    async def dismiss(self, job: str) -> None:
        self.admitted.pop(job, None)

    async def withdraw(self, job: str, at: datetime) -> bool:
        first = job not in self.withdrawn
        self.withdrawn.add(job)
        return first


class FolderFiles(ExportObjects):
    """Files of exports in a folder; `plain` says whether they may be read there, or only as from a cloud."""

    plain = True

    def path(self, key: str) -> Path | None:
        return super().path(key) if self.plain else None


@dataclass
class MemoryHolds:
    exports: MemoryExports
    held: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)

    async def release(self, job: str) -> None:
        self.released.append(job)

    @asynccontextmanager
    async def hold(self, job: str) -> AsyncIterator[None]:
        if job in self.exports.withdrawn:
            raise DeletedJobError
        self.held.append(job)
        try:
            yield
        finally:
            self.held.remove(job)


@dataclass
class MemoryBulk:
    """Everything that bulk export needs, in memory."""

    folder: Path
    grants: MemoryGrants = field(default_factory=MemoryGrants)
    groups: MemoryGroups = field(default_factory=MemoryGroups)
    lookup: MemoryLookup = field(default_factory=MemoryLookup)
    exports: MemoryExports = field(default_factory=MemoryExports)
    encrypted: bool = True

    def __post_init__(self) -> None:
        self.objects = FolderFiles(MemoryStore())
        if self.folder.exists():
            self.objects = FolderFiles(LocalStore(self.folder), folder=self.folder)
        self.holds = MemoryHolds(self.exports)
        self.ports = ExportPorts(self.exports, self.objects, self.holds)

    def seal(
        self,
        job: str,
        data: bytes,
        *,
        part: int = 0,
        n: int = 0,
        type_: str | None = "Patient",
        kind: FileKind = FileKind.OUTPUT,
        place: int | None = None,
        continues: bool = False,
    ) -> FileRow:
        """Write a file and list it; encrypted, unless `encrypted` is taken away."""
        _, data_key = KEYS.make(data_key_name(job))
        row = FileRow(
            part=part,
            n=n,
            kind=kind,
            type=type_,
            count=data.count(b"\n"),
            size=len(data),
            sha256=hashlib.sha256(data).digest(),
            continues=continues,
            key=f"{job}.{part}.{n}",
            encrypted=self.encrypted,
            data_key=data_key if self.encrypted else None,
        )
        frames = sealed(KEYS.unwrap(data_key, data_key_name(job)), row.key, data)
        (self.folder / row.key).write_bytes(b"".join(frames) if self.encrypted else data)
        self.exports.listed.setdefault(job, []).append((part if place is None else place, row))
        return row
