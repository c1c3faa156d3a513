"""How a job is cut, and what each step is told of it; the job's rows keep these as JSON."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from sluice_contracts.exports import ExportAccess, ExportRequest, FileKind
from sluice_storage.resources.model import Part, Snapshot, Window


class PartKind(StrEnum):
    """What a part's files hold."""

    RESOURCES = "resources"
    DELETED = "deleted"
    BLOCKS = "blocks"
    PROVENANCE = "provenance"
    IGNORED = "ignored"


class PlannedScope(Struct, frozen=True, omit_defaults=True):
    """Of which patients (None: of any) an export has resources of some types."""

    types: tuple[str, ...]
    patients: tuple[str, ...] | None = None


class PartPlan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one part covers.

    Parameters
    ----------
    kind
        What its files hold.
    type
        The type of its resources; empty: several.
    parts
        What is read of the store.
    patients
        For blocks: of which patients, if it is not those in `parts`.
    types
        For blocks: the types in them.
    scopes
        For Provenance: what it has to be about; none: something in the compartment of some patient.
    tells_ignored
        Its files have beside them one with the parameters that were left out of account.
    """

    kind: PartKind
    type: str = ""
    parts: tuple[Part, ...] = ()
    patients: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    scopes: tuple[PlannedScope, ...] = ()
    tells_ignored: bool = False


class JobFacts(Struct, frozen=True, kw_only=True):
    """What a job's steps need to know of it, and what never changes once it is planned."""

    job: str
    client: str
    subject: str
    request: ExportRequest
    access: ExportAccess
    snapshot: Snapshot

    @property
    def window(self) -> Window:
        """The resources that the job is about, by time."""
        return Window(self.snapshot, self.request.since, self.request.until)


class SealedFile(Struct, frozen=True, kw_only=True):
    """A file that is in the object store, whole.

    `type` is None if it holds several; `continues` says that its last block goes on in the next file.
    """

    kind: FileKind
    type: str | None
    key: str
    count: int
    size: int
    sha256: bytes
    continues: bool = False


class SealedPart(Struct, frozen=True, kw_only=True):
    """A part whose `files` are listed, in their order.

    `failed` is an item's error code if it was given up: then its files say that, and hold nothing else.
    """

    files: tuple[SealedFile, ...]
    at: datetime
    failed: str | None = None
