"""What the gateway needs to know of exports, in its own words; `sluice_gateway.stores.exports` reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self

from sluice_contracts.exports import ExportAccess, ExportRequest, FileKind


@dataclass(frozen=True, slots=True)
class ExportRow:
    """An export as it stands, whoever asks.

    Parameters
    ----------
    client, subject
        Whose it is; both empty if it is not known any more.
    request, access
        What it is to hold; None before it is planned and after its content is deleted.
    transaction_time
        The instant whose state it holds.
    parts, sealed
        How many parts it has, and how many of them are written.
    planned
        Whether the parts are known.
    outcome
        `completed`, `cancelled` or `failed` once it has ended.
    finished_at, expires_at
        When it ended, and until when its content is kept.
    submitted_at
        When it was accepted.
    gone
        It was deleted or cancelled.
    """

    client: str
    subject: str
    request: ExportRequest | None
    access: ExportAccess | None
    transaction_time: datetime | None
    parts: int
    planned: bool
    sealed: int
    outcome: str | None
    finished_at: datetime | None
    expires_at: datetime | None
    submitted_at: datetime | None
    gone: bool

    @classmethod
    def accepted(cls, client: str, subject: str, at: datetime) -> Self:
        """Give an export of which nothing but its acceptance is known yet."""
        return cls(
            client=client,
            subject=subject,
            request=None,
            access=None,
            transaction_time=None,
            parts=0,
            planned=False,
            sealed=0,
            outcome=None,
            finished_at=None,
            expires_at=None,
            submitted_at=at,
            gone=False,
        )


@dataclass(frozen=True, slots=True)
class FileRow:
    """A sealed file.

    `continues` says that its last block goes on in the part's next one. `data_key`, wrapped, is what an
    `encrypted` one is decrypted with, where a file is asked for by its number; None once that is destroyed.
    """

    part: int
    n: int
    kind: FileKind
    type: str | None
    count: int
    size: int
    sha256: bytes
    continues: bool
    key: str
    encrypted: bool
    data_key: bytes | None = None

    @property
    def name(self) -> str:
        """The file's name in addresses."""
        what = self.type or "output"
        kind = "" if self.kind is FileKind.OUTPUT else f".{self.kind.value}"
        return f"{self.part}.{self.n}.{what}{kind}.ndjson"


@dataclass(frozen=True, slots=True)
class Admission:
    """An export that asks to be begun; `request` is the digest of what is asked for, in the one spelling."""

    job: str
    client: str
    subject: str
    request: bytes


class ExportStore(Protocol):
    """Where exports are read. `job` is a UUID in its one spelling, or nothing is asked."""

    def get(self, job: str) -> Awaitable[ExportRow | None]:
        """Give the export, None if nothing is known of it (yet)."""

    async def files(self, job: str, start: int, end: int | None) -> Sequence[FileRow]:
        """Give the files of the parts that were sealed as the `start`-th up to before the `end`-th."""

    async def file(self, job: str, part: int, n: int) -> tuple[ExportRow | None, FileRow | None]:
        """Give the export, and the file of it if there is such a one."""

    async def admit(
        self, admission: Admission, at: datetime, *, most: int, once: bool
    ) -> tuple[bool, str | None]:
        """Admit an export; else say so, with the job that is its twin if that is why.

        Parameters
        ----------
        most
            How many may run at once.
        once
            Not if a living one asks for the same.
        """

    async def dismiss(self, job: str) -> None:
        """Take back an admission: the job was not begun."""

    async def withdraw(self, job: str, at: datetime) -> bool:
        """Delete the export for everyone to see; say whether it was not deleted before."""
