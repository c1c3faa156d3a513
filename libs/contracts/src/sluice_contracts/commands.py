"""Commands: what one service asks of the next.

Commands carry identifiers and positions, never resources or files: what an item is about waits under
(job, item) in Postgres (`documents.items`, `documents.fetched`, `documents.scraped`, `exports.parts`,
`pulls.files`). The one exception is the command that starts a job, which is the acceptance itself and so
carries the whole request.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from msgspec import Struct

from sluice_contracts.exports import ExpiryReason, ExportAccess, ExportRequest
from sluice_contracts.imports import ImportRequest


class ConflictResolution(StrEnum):
    """What to do when a folder already holds the name (the import API's `conflict_resolution`)."""

    OVERWRITE = "OVERWRITE"
    AUTORENAME = "AUTORENAME"
    SKIP = "SKIP"


class Command(Struct, frozen=True, kw_only=True, tag_field="type"):
    """One request for one effect; `job` is the job it is part of."""

    job: str


class ImportItem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One DocumentReference to import, resolved by the gateway.

    `reference` is the caller's URI, `source` the registered server it is on, `folder` the folder the file
    lands in (a project's root is a folder), `project` the project that folder is in. `name` and `metadata`
    are the caller's, and win over what is found at the source.
    """

    reference: str
    source: str
    project: str
    folder: str
    name: str | None = None
    metadata: dict[str, Any] | None = None


class StartDocumentImport(Command, frozen=True, kw_only=True, tag="StartDocumentImport"):
    """Plan an import job: this record on Kafka is the job's acceptance.

    `client` is the OAuth client, `subject` whom its token speaks for, `submitted_at` Unix seconds.
    """

    client: str
    subject: str
    submitted_at: float
    items: tuple[ImportItem, ...]
    conflict_resolution: ConflictResolution = ConflictResolution.SKIP
    tags: tuple[str, ...] = ()


class CancelDocumentImport(Command, frozen=True, kw_only=True, tag="CancelDocumentImport"):
    """Stop a job's unfinished items. Same topic and key as its start, so it never arrives before it."""


class ItemCommand(Command, frozen=True, kw_only=True):
    """A command about one item; `item` is its position in the request, from 0."""

    item: int


class LotCommand(Command, frozen=True, kw_only=True):
    """A command about a lot: some items of one job. `items` are their positions in the request, from 0."""

    items: tuple[int, ...]


class FetchDocuments(LotCommand, frozen=True, kw_only=True, tag="FetchDocuments"):
    """GET the items' DocumentReferences from their sources."""


class ScrapeDocuments(LotCommand, frozen=True, kw_only=True, tag="ScrapeDocuments"):
    """Make the items' metadata from their DocumentReferences and what those refer to."""


class AttachDocuments(LotCommand, frozen=True, kw_only=True, tag="AttachDocuments"):
    """Bring the items' attachments into the object store and their files into their folders."""


DocumentImportCommand = StartDocumentImport | CancelDocumentImport


class StartBulkExport(Command, frozen=True, kw_only=True, tag="StartBulkExport"):
    """Plan an export: this record on Kafka is the job's acceptance.

    `client` is the OAuth client, `subject` whom its token speaks for, `submitted_at` Unix seconds.
    """

    client: str
    subject: str
    submitted_at: float
    request: ExportRequest
    access: ExportAccess


class CancelBulkExport(Command, frozen=True, kw_only=True, tag="CancelBulkExport"):
    """Stop an export's unfinished parts. Same topic and key as its start, so it never arrives before it."""


class WritePart(ItemCommand, frozen=True, kw_only=True, tag="WritePart"):
    """Write the files of one part of an export; `item` is the part."""


class FailPart(ItemCommand, frozen=True, kw_only=True, tag="FailPart"):
    """Seal a part of which nothing could be written with a file that says so; `code` is an item's error."""

    code: str


class ExpireJob(Command, frozen=True, kw_only=True, tag="ExpireJob"):
    """Delete what an export has written, for good."""

    reason: ExpiryReason


BulkExportCommand = StartBulkExport | CancelBulkExport
PartCommand = WritePart | FailPart


class StartBulkImport(Command, frozen=True, kw_only=True, tag="StartBulkImport"):
    """Kick off an export at a source and import it: this record on Kafka is the job's acceptance.

    `client` is the OAuth client, `subject` whom its token speaks for, `submitted_at` Unix seconds.
    """

    client: str
    subject: str
    submitted_at: float
    request: ImportRequest


class CancelBulkImport(Command, frozen=True, kw_only=True, tag="CancelBulkImport"):
    """Stop a bulk import. Same topic and key as its start, so it never arrives before it."""


class PollExport(Command, frozen=True, kw_only=True, tag="PollExport"):
    """Take the job's next step at its source, which is due now: kick off, poll, or delete the export there.

    `turn` counts a job's steps; a command whose turn is over asks for nothing any more.
    """

    turn: int


class FailImport(Command, frozen=True, kw_only=True, tag="FailImport"):
    """End a bulk import that can go no further; `code` is an item's error.

    The rest is what its start said, if that is what failed; else empty.
    """

    code: str
    client: str = ""
    subject: str = ""
    submitted_at: float = 0.0


class LoadFile(ItemCommand, frozen=True, kw_only=True, tag="LoadFile"):
    """Download one file of the source's export into the resource store; `item` is the file."""


class FailFile(ItemCommand, frozen=True, kw_only=True, tag="FailFile"):
    """Give a file up; `code` is an item's error, `source_status` the HTTP status of the source's answer."""

    code: str
    source_status: int | None = None


class FinishImport(ItemCommand, frozen=True, kw_only=True, tag="FinishImport"):
    """Do what is left when all files of a bulk import have ended; `item` is the job's last one."""


BulkImportCommand = StartBulkImport | CancelBulkImport | PollExport | FailImport
PulledFileCommand = LoadFile | FailFile | FinishImport
