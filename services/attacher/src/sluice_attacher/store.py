"""What the attacher reads and writes, in the words of its own domain. `sluice_attacher.postgres` does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from sluice_contracts.commands import ConflictResolution
from sluice_storage.catalogue.attachment import Attached, Attachment, Refusal

Outcome = Attached | Refusal | Exception


class ScrapedItem(Struct, frozen=True, gc=False):
    """An item as the attach step needs it.

    Parameters
    ----------
    source
        The registered source's id.
    folder
        The folder its file is for.
    name
        What the caller wants the file called.
    rule, tags
        The job's.
    cancelled
        Whether the job was cancelled.
    attached
        What became of the item before, None if it did not take effect yet.
    size
        The DocumentReference's bytes, None if it is not here.
    body
        The DocumentReference, if it is small; a large one is asked for by `Items.body`.
    metadata
        What was scraped: a flat JSON object.
    etag, version
        The DocumentReference's at its source, as far as that names them.
    """

    source: str
    folder: str
    name: str | None
    rule: ConflictResolution
    tags: tuple[str, ...]
    cancelled: bool
    attached: Attached | None
    size: int | None
    body: bytes | None
    metadata: bytes | None
    etag: str | None = None
    version: str | None = None


class Items(Protocol):
    """Items and the files they become. Calls made together share their round trips.

    Everything raises `Unavailable` while the database is away.
    """

    async def find(self, job: str, items: Sequence[int]) -> Sequence[ScrapedItem | None]:
        """Give these items of a job, None for one that is not here (any more)."""

    async def body(self, job: str, item: int) -> bytes | None:
        """Give a large DocumentReference, None if it is not here (any more)."""

    async def attach(self, attachments: Sequence[Attachment]) -> Sequence[Outcome]:
        """Let each file take effect, once; see `sluice_storage.catalogue.attaching.Attaching`.

        One that the database does not take gets the error, and the others are attached all the same.
        """
