"""What the service answers, as types. Fields it adds later are ignored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from msgspec import Struct, field

T = TypeVar("T")

MetadataValue = str | int | float | bool | None | list[str]
"""What a metadata value may be."""


class ConflictResolution(StrEnum):
    """What to do with a file whose name its folder already has."""

    OVERWRITE = "OVERWRITE"
    AUTORENAME = "AUTORENAME"
    SKIP = "SKIP"


class JobState(StrEnum):
    """Where a job stands."""

    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"


class ImportItem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One document to import.

    Parameters
    ----------
    fhir_document_reference
        Address of the DocumentReference, on a registered source.
    project, parent
        Where to: a project (`owner/slug`, its root) or a folder's id; exactly one of them.
    name
        The file's name; without it the document's own.
    metadata
        Key-value pairs; they win over what is found at the source.
    """

    fhir_document_reference: str
    project: str | None = None
    parent: str | None = None
    name: str | None = None
    metadata: Mapping[str, Any] | None = None


class ImportRequest(Struct, kw_only=True, omit_defaults=True):
    """A bulk import as the API takes it; more than 100 items are sent as several."""

    items: Sequence[ImportItem]
    conflict_resolution: ConflictResolution | None = None
    tags: Sequence[str] | None = None


class JobAccepted(Struct, frozen=True, kw_only=True):
    """An accepted job: it will be carried out whatever happens to the server that answered."""

    id: str
    href: str
    state: JobState


class ItemCounts(Struct, frozen=True, kw_only=True):
    """How many of a job's items have come how far."""

    total: int = 0
    attached: int = 0
    skipped: int = 0
    failed: int = 0
    cancelled: int = 0
    pending: int = 0

    @property
    def ended(self) -> int:
        """How many have ended, well or not."""
        return self.attached + self.skipped + self.failed + self.cancelled


class File(Struct, frozen=True, kw_only=True):
    """A file or a folder; `size` is in bytes and null for a folder."""

    id: str
    name: str
    type: str
    project: str
    href: str = ""
    parent: str | None = None
    size: int | None = None
    created_on: datetime | None = None
    modified_on: datetime | None = None
    tags: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        """Whether it holds others instead of content."""
        return self.type == "folder"


class ItemProblem(Struct, frozen=True, kw_only=True):
    """Why an item has no file."""

    status: int
    code: str | int
    message: str
    more_info: str = ""


class ImportResult(Struct, frozen=True, kw_only=True):
    """What became of one item, by its position in the request.

    `warnings` are metadata keys that are required and that the source had no value of; `other_contents` says
    how many further contents the document has, which were not imported; `document_version` is the version of
    it that was, if its source says.
    """

    item: int
    fhir_document_reference: str
    state: str
    resource: File | None = None
    error: ItemProblem | None = None
    warnings: tuple[str, ...] = ()
    other_contents: int = 0
    document_version: str | None = None


class JobSummary(Struct, frozen=True, kw_only=True):
    """A job without its items; `outcome` is `completed`, `cancelled` or `failed` once it has finished."""

    id: str
    href: str
    state: JobState
    outcome: str | None = None
    counts: ItemCounts = field(default_factory=ItemCounts)
    submitted_on: datetime | None = None
    started_on: datetime | None = None
    finished_on: datetime | None = None
    eta: datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state is JobState.FINISHED


class Job(JobSummary, frozen=True, kw_only=True):
    """A job with a page of its results, in the order of the request."""

    result: list[ImportResult] = field(default_factory=list)


class Project(Struct, frozen=True, kw_only=True):
    """A project; its files are below the folder `root_folder`."""

    id: str
    name: str
    href: str = ""
    description: str = ""
    root_folder: str | None = None
    tags: list[str] = field(default_factory=list)
    created_on: datetime | None = None


class Member(Struct, frozen=True, kw_only=True):
    """Who may see a project; `permissions` say what else, such as `write` and `admin`."""

    username: str
    permissions: dict[str, bool] = field(default_factory=dict)


class Finding(Struct, frozen=True, kw_only=True):
    """What was found of one thing: `state` is `ok`, `warning`, `failing` or `skipped`."""

    name: str
    state: str
    text: str
    advice: str = ""


class Checkup(Struct, frozen=True, kw_only=True):
    """What was found of a deployment; `state` is the worst."""

    state: str
    findings: list[Finding] = field(default_factory=list)


class User(Struct, frozen=True, kw_only=True):
    """Whom a token speaks for: what projects are shared with, and their ids begin with."""

    username: str


class RateLimit(Struct, frozen=True, kw_only=True):
    """The quota of bulk requests; `reset` is when more of it is free, in epoch seconds."""

    limit: int
    remaining: int
    reset: int | None = None


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list."""

    items: list[T]


class Downloaded(Struct, frozen=True, kw_only=True):
    """A file that was downloaded: where it is, its bytes and its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


class Credentials(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An OAuth client's id and secret; keep the secret, it is shown once.

    `registration_token` is what the client's registration can be changed or removed with.
    """

    client_id: str
    client_secret: str
    registration_token: str | None = None
    registration_uri: str | None = None


class Registration(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client that was registered with a key: its id, and the scopes that it may have.

    `registration_token` is what the registration can be changed or removed with.
    """

    client_id: str
    scope: str = ""
    registration_token: str | None = None
    registration_uri: str | None = None
