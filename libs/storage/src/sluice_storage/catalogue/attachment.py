"""What is attached, and what becomes of it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from sluice_contracts.commands import ConflictResolution
from sluice_contracts.events import FileOutcome
from sluice_storage.objects import Content

Item = tuple[str, int]
"""A job's id and the position of an item in it."""


class Attachment(Struct, frozen=True, gc=False):
    """A file to attach, whose content is in the object store already.

    Parameters
    ----------
    job, item
        The import and the position in it: what makes the effect happen once.
    name
        Safe already (`sluice_storage.catalogue.naming.safe_name`).
    metadata
        A flat JSON object, as text.
    others
        How many further contents the document had.
    etag, version
        The document's at its source, as far as that names them.
    """

    job: str
    item: int
    source: str
    folder: str
    name: str
    rule: ConflictResolution
    stored: Content
    content_type: str | None
    metadata: str
    tags: tuple[str, ...]
    others: int = 0
    etag: str | None = None
    version: str | None = None


class Refusal(StrEnum):
    """Why an attachment had no effect."""

    CANCELLED = "cancelled"
    DESTINATION_GONE = "destination_gone"


class Attached(Struct, frozen=True, gc=False):
    """What became of an item: `entry` is its file or, for `skipped`, the one already there."""

    outcome: FileOutcome
    entry: str
    size: int
    others: int
