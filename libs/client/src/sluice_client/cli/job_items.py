"""A job's items for `sluice job`: what became of each, with its document where that may be seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

from msgspec import Struct

from sluice_client.any_jobs import AnyJob
from sluice_client.cli.session import table
from sluice_client.client import SluiceClient
from sluice_client.errors import NotFoundError
from sluice_client.models import ItemProblem
from sluice_contracts.words import counted

DOCUMENTS = "document-import"


class Item(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item; `about` is its document and `file` what that became, `code` and `message` say what failed.

    `warnings` are metadata keys that the source had no value of, `other_contents` counts the document's
    contents that were not imported.
    """

    item: int
    state: str
    code: str | int = ""
    message: str = ""
    about: str = ""
    file: str = ""
    warnings: Sequence[str] = ()
    other_contents: int = 0

    @property
    def note(self) -> str:
        """What one may want to know of it although it did not fail."""
        lacking = f"no {', '.join(self.warnings)} at the source" if self.warnings else ""
        others = f"{counted(self.other_contents, 'further content')} not imported"
        return "; ".join(filter(None, (lacking, others if self.other_contents else "")))


async def items_of(client: SluiceClient, job: AnyJob, *, failed: bool = False) -> list[Item]:
    """Give a job's items, or those that came to nothing: with documents, if it is one's own import."""
    if job.kind == DOCUMENTS:
        # Somebody else's is not there for operators either, who see it without its documents.
        with suppress(NotFoundError):
            return [it async for it in _own(client, job.id) if it.code or not failed]
    return [it async for it in _any(client, job.id, "FAILED" if failed else None)]


async def _own(client: SluiceClient, job: str) -> AsyncIterator[Item]:
    async for it in client.results(job):
        code, message = _why(it.error)
        yield Item(
            item=it.item,
            state=it.state,
            code=code,
            message=message,
            about=it.fhir_document_reference,
            file=it.resource.name if it.resource else "",
            warnings=it.warnings,
            other_contents=it.other_contents,
        )


async def _any(client: SluiceClient, job: str, state: str | None) -> AsyncIterator[Item]:
    async for it in client.job_items(job, state=state):
        code, message = _why(it.error)
        yield Item(item=it.item, state=it.state, code=code, message=message, file=it.file or "")


def _why(error: ItemProblem | None) -> tuple[str | int, str]:
    return (error.code, error.message) if error else ("", "")


async def notes_of(client: SluiceClient, job: AnyJob) -> str:
    """Sum up what one may want to know of one's own document import's items; empty if that is nothing."""
    if job.kind != DOCUMENTS or not job.finished:
        return ""
    with suppress(NotFoundError):
        found = [it async for it in _own(client, job.id)]
        lacking = sum(bool(it.warnings) for it in found)
        others = sum(bool(it.other_contents) for it in found)
        told = (
            f"{lacking} without metadata that the source did not have" if lacking else "",
            f"{others} with further contents, not imported" if others else "",
        )
        return ", ".join(filter(None, told))
    return ""


def failed_table(found: Sequence[Item]) -> Any:
    """Show what came to nothing."""
    rows = [(it.item, it.code, it.message, it.about) for it in found]
    return table(("item", "code", "reason", "document"), rows, "Nothing has failed so far.")


def items_table(found: Sequence[Item]) -> Any:
    """Show all items."""
    rows = [(it.item, it.state, it.about or it.file, it.message or it.note) for it in found]
    return table(("item", "state", "what", "note"), rows, "Nothing is known of its items so far.")
