"""Events: what happened, for the status service and for everyone who subscribes to `jobs.events`.

Events hold ids, counts, codes and times, and no health information: no names, no metadata values, no
addresses of resources. `at` is Unix seconds. Some tell of several items of a job at once, in `items`, what
their singulars tell of one. The same event may be published more than once; whoever
consumes them folds sets of (job, item), never counters.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict

from sluice_contracts.bounds import MOST_ITEMS, Bytes, Count, Name, Number, Position, Seconds, Word
from sluice_contracts.exports import ExpiryReason
from sluice_contracts.ids import MOST_IN_LOT

_LOT = Meta(min_length=1, max_length=MOST_IN_LOT)


class JobKind(StrEnum):
    """What a job does."""

    DOCUMENT_IMPORT = "document-import"
    BULK_EXPORT = "bulk-export"
    BULK_IMPORT = "bulk-import"


class JobOutcome(StrEnum):
    """How a job ended; there is exactly one per job."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Stage(StrEnum):
    """The step of a job that an item's event is about."""

    PLAN = "plan"
    FETCH = "fetch"
    SCRAPE = "scrape"
    ATTACH = "attach"
    EXPORT = "export"
    PULL = "pull"
    LOAD = "load"


class FileOutcome(StrEnum):
    """What conflict resolution made of an item whose attachment arrived."""

    CREATED = "created"
    RENAMED = "renamed"
    REPLACED = "replaced"
    SKIPPED = "skipped"


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type", gc=False):
    """Something that happened to `job` at `at` (Unix seconds)."""

    job: Word
    at: Seconds


class JobPlanned(Event, frozen=True, kw_only=True, tag="JobPlanned"):
    """The job is split into `items` items; `submitted_at` is when the portal heard 202.

    `sources` are the ids of the registered servers that its items come from; none if they come from none.
    `item_sources` says, for each item, which of them (0 is the first); empty if all come from the first.
    """

    kind: JobKind
    client: Name
    subject: Name
    submitted_at: Seconds
    items: Count
    sources: Annotated[tuple[Word, ...], Meta(max_length=MOST_ITEMS)] = ()
    item_sources: Annotated[tuple[Position, ...], Meta(max_length=MOST_ITEMS)] = ()


class JobCancelled(Event, frozen=True, kw_only=True, tag="JobCancelled"):
    """The job's owner cancelled it: items that have not ended yet will not."""


class JobFinished(Event, frozen=True, kw_only=True, tag="JobFinished"):
    """The status service's word that the job has ended; counts are of items."""

    kind: JobKind
    outcome: JobOutcome
    items: Count
    attached: Count
    skipped: Count
    failed: Count
    cancelled: Count


class JobExpired(Event, frozen=True, kw_only=True, tag="JobExpired"):
    """Nothing of what the export wrote is left."""

    reason: ExpiryReason


class ItemEvent(Event, frozen=True, kw_only=True):
    """Something that happened to one item; `item` is its position in the request, from 0."""

    item: Position


class DocumentFetched(ItemEvent, frozen=True, kw_only=True, tag="DocumentFetched"):
    """The DocumentReference was read; `size` is its length in bytes."""

    size: Bytes


class DocumentScraped(ItemEvent, frozen=True, kw_only=True, tag="DocumentScraped"):
    """Metadata was made: `keys` keys, with `warnings` required values that were not found."""

    keys: Number
    warnings: Number = 0


class DocumentAttached(ItemEvent, frozen=True, kw_only=True, tag="DocumentAttached"):
    """The item took effect. `file` is the file it made or, for `skipped`, the one already there.

    `size` is the content's length in bytes; `others` counts the document's further contents, which were not
    imported.
    """

    file: Word
    outcome: FileOutcome
    size: Bytes
    others: Number = 0


class Fetched(Struct, frozen=True, kw_only=True, gc=False):
    """One item of `DocumentsFetched`; see `DocumentFetched`."""

    item: Position
    size: Bytes


class Scraped(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One item of `DocumentsScraped`; see `DocumentScraped`."""

    item: Position
    keys: Number
    warnings: Number = 0


class Attached(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One item of `DocumentsAttached`; see `DocumentAttached`."""

    item: Position
    file: Word
    outcome: FileOutcome
    size: Bytes
    others: Number = 0


class DocumentsFetched(Event, frozen=True, kw_only=True, tag="DocumentsFetched"):
    """`DocumentFetched` of several items at once."""

    items: Annotated[tuple[Fetched, ...], _LOT]


class DocumentsScraped(Event, frozen=True, kw_only=True, tag="DocumentsScraped"):
    """`DocumentScraped` of several items at once."""

    items: Annotated[tuple[Scraped, ...], _LOT]


class DocumentsAttached(Event, frozen=True, kw_only=True, tag="DocumentsAttached"):
    """`DocumentAttached` of several items at once."""

    items: Annotated[tuple[Attached, ...], _LOT]


class SealedFile(Struct, frozen=True, kw_only=True):
    """A file of an export that is there, whole: its lines, its size in bytes, and its SHA-256 in hex.

    `resource_type` is what it holds, empty if it holds several types.
    """

    resource_type: Word
    count: Bytes
    size: Bytes
    sha256: Word


class PartSealed(ItemEvent, frozen=True, kw_only=True, tag="PartSealed"):
    """A part of an export is there, whole: `files` files of `count` lines and `size` bytes together.

    `resource_type` is what they hold, empty if they hold several types. `sealed` tells of each of them, in
    their order.
    """

    resource_type: Word
    files: Number
    count: Bytes
    size: Bytes
    sealed: Annotated[tuple[SealedFile, ...], Meta(max_length=MOST_ITEMS)] = ()


class FileLoaded(ItemEvent, frozen=True, kw_only=True, tag="FileLoaded"):
    """A file of a source's export is in the resource store, as far as its lines were sound.

    `resource_type` is what its manifest says it holds, empty if it says nothing. Of its `read` lines so many
    made new resources, new versions, changed nothing, were older than what is there, or could not be kept;
    `deleted` resources were deleted. `size` is in bytes of lines.
    """

    resource_type: Word
    read: Bytes
    created: Bytes
    updated: Bytes
    unchanged: Bytes
    stale: Bytes
    invalid: Bytes
    deleted: Bytes
    size: Bytes


class ImportSettled(ItemEvent, frozen=True, kw_only=True, tag="ImportSettled"):
    """All files of a bulk import have ended, `failed` of `files` without being loaded."""

    files: Count
    failed: Count


class ItemRetrying(ItemEvent, frozen=True, kw_only=True, tag="ItemRetrying"):
    """A step failed for now and is tried again at `due` (Unix seconds); `attempt` counts from 1."""

    stage: Stage
    code: Word
    attempt: Number
    due: Seconds


class ItemFailed(ItemEvent, frozen=True, kw_only=True, tag="ItemFailed"):
    """The item ended without a file.

    `code` is one of `sluice_contracts.errors`; `source_status` is the HTTP status the source answered with.
    """

    stage: Stage
    code: Word
    source_status: Number | None = None


class ItemCancelled(ItemEvent, frozen=True, kw_only=True, tag="ItemCancelled"):
    """A step met the item after its job was cancelled and left it alone."""


JobEvent = (
    JobPlanned
    | JobCancelled
    | JobFinished
    | JobExpired
    | DocumentFetched
    | DocumentScraped
    | DocumentAttached
    | DocumentsFetched
    | DocumentsScraped
    | DocumentsAttached
    | PartSealed
    | FileLoaded
    | ImportSettled
    | ItemRetrying
    | ItemFailed
    | ItemCancelled
)


DocumentEvent = DocumentFetched | DocumentScraped | DocumentAttached
DocumentsEvent = DocumentsFetched | DocumentsScraped | DocumentsAttached
"""The events that tell of several items; `each` takes them apart."""

_ONE: dict[type[Event], type[DocumentEvent]] = {
    DocumentsFetched: DocumentFetched,
    DocumentsScraped: DocumentScraped,
    DocumentsAttached: DocumentAttached,
}
SEVERAL = frozenset(_ONE)
"""The classes of `DocumentsEvent`."""


def each(event: DocumentsEvent) -> list[DocumentEvent]:
    """Give what an event tells of several items as an event of each, in their order."""
    one, job, at = _ONE[type(event)], event.job, event.at
    return [one(job=job, at=at, **asdict(it)) for it in event.items]
