"""`sluice jobs` and `sluice job`: jobs of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, suppress
from enum import StrEnum
from typing import Annotated, Any

import typer
from msgspec import Struct
from rich.text import Text

from sluice_client.any_jobs import AnyJob, JobCounts
from sluice_client.cli.exporting import instant_of
from sluice_client.cli.progress import showing
from sluice_client.cli.session import Session, session_of, table
from sluice_client.client import SluiceClient
from sluice_client.errors import NotFoundError
from sluice_client.models import JobState

_THINGS = {"document-import": "item", "bulk-import": "file", "bulk-export": "part"}
_DONE = {"document-import": "attached", "bulk-import": "loaded", "bulk-export": "written"}


class Kind(StrEnum):
    """The kinds of jobs."""

    DOCUMENT_IMPORT = "document-import"
    BULK_IMPORT = "bulk-import"
    BULK_EXPORT = "bulk-export"


class Outcome(StrEnum):
    """How jobs end."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


def jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="the most to list")] = 20,
    kind: Annotated[Kind | None, typer.Option(help="only jobs of this kind")] = None,
    state: Annotated[
        JobState | None, typer.Option(help="only jobs in this state", case_sensitive=False)
    ] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="only jobs that ended so")] = None,
    since: Annotated[str | None, typer.Option(help="only those submitted since (date or time; UTC)")] = None,
    begins: Annotated[
        str | None, typer.Option("--id", help="only those whose id, or client's, begins so")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="all of them, as they change, until Ctrl-C")] = False,
) -> None:
    """List your jobs, newest first; with the scope ops/jobs everyone's."""
    session = session_of(context)
    if watch:
        if kind or state or outcome or since or begins:
            raise typer.BadParameter("--watch tells of all jobs")
        session.call(lambda client: _watched(session, client), "jobs go on")
        return
    after = instant_of(since, "--since")

    async def work(client: SluiceClient) -> list[AnyJob]:
        found: list[AnyJob] = []
        async for job in client.all_jobs(kind=kind, state=state, outcome=outcome, since=after, begins=begins):
            if len(found) >= limit:
                break
            found.append(job)
        return found

    found = session.call(work)
    rows = [(it.id, it.kind, it.outcome or it.state, *_counted(it.counts), it.submitted_on) for it in found]
    headings = ("job", "kind", "state", "items", "done", "skipped", "failed", "submitted")
    session.show(found, lambda: table(headings, rows, "No jobs."))


async def _watched(session: Session, client: SluiceClient) -> None:
    async with aclosing(client.job_changes()) as changes:
        async for found in changes:
            session.show(found, lambda: Text(f"{found.id} {found.kind} {_shown(found)}".partition("\n")[0]))  # noqa: B023
            session.out.file.flush()


def _counted(counts: JobCounts) -> tuple[int, int, int, int]:
    return counts.items, counts.attached, counts.skipped, counts.failed + counts.cancelled


class Failed(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An item that came to nothing, and why; `about` is its document, where that may be seen."""

    item: int
    state: str
    code: str | int = ""
    message: str = ""
    about: str = ""


def job(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID")],
    watch: Annotated[bool, typer.Option("--watch", help="until it has finished, with progress")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="list the items that came to nothing")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="stop what has not ended yet")] = False,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="run what failed again, as a new job (document imports)")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="delete a finished export, or forget a bulk import")
    ] = False,
) -> None:
    """Show a job of any kind; follow it, list what failed, run that again, cancel or delete it."""
    if cancel + rerun + delete > 1 or ((cancel or delete) and (watch or failed)):
        raise typer.BadParameter("one thing at a time; --rerun may be followed by --watch")
    session = session_of(context)
    if delete:
        session.call(lambda client: client.delete_job(id_))
        session.show({"deleted": id_}, lambda: "deleted")
        return

    async def work(client: SluiceClient) -> tuple[AnyJob | None, list[Failed]]:
        which = id_
        if rerun:
            which = (await client.rerun(id_)).id
            if not session.as_json:
                session.err.print(f"job {which}", markup=False)
        if cancel:
            await client.cancel_job(id_)
            # Bulk imports and exports are gone then; items of a document import are told of.
            with suppress(NotFoundError):
                return await client.any_job(id_), []
            return None, []
        found = await _followed(session, client, which) if watch else await client.any_job(which)
        return found, await _failures(client, found) if failed else []

    found, bad = session.call(work)
    if session.as_json or not failed or found is None:
        session.show({"job": found, "failed": bad}, lambda: "cancelled" if found is None else _shown(found))
        return
    rows = [(it.item, it.code, it.message, it.about) for it in bad]
    session.out.print(table(("item", "code", "reason", "document"), rows, "Nothing has failed so far."))


async def _followed(session: Session, client: SluiceClient, job: str) -> AnyJob:
    with showing(session.err, "job", quiet=session.as_json) as display:

        def told(now: AnyJob) -> None:
            display.update(now.counts.done, now.counts.items, _described(now))

        return await client.wait_for_job(job, on_change=told)


async def _failures(client: SluiceClient, found: AnyJob) -> list[Failed]:
    """Give what failed: with the documents, if the job is one's own document import."""
    if found.kind == Kind.DOCUMENT_IMPORT:
        # Somebody else's is not there for operators either, who see it without its documents.
        with suppress(NotFoundError):
            return [
                Failed(
                    item=it.item,
                    state=it.state,
                    code=it.error.code,
                    message=it.error.message,
                    about=it.fhir_document_reference,
                )
                async for it in client.results(found.id)
                if it.error
            ]
    items = client.job_items(found.id, state="FAILED")
    return [
        Failed(
            item=it.item,
            state=it.state,
            code=it.error.code if it.error else "",
            message=it.error.message if it.error else "",
        )
        async for it in items
    ]


def _described(found: AnyJob) -> str:
    counts = found.counts
    numbers: Sequence[tuple[int, str]] = (
        (counts.attached, _DONE.get(found.kind, "done")),
        (counts.skipped, "skipped"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
    )
    return ", ".join(f"{number} {word}" for number, word in numbers if number)


def _shown(found: AnyJob) -> Any:
    counts, thing = found.counts, _THINGS.get(found.kind, "item")
    things = f"{counts.items} {thing}{'s' * (counts.items != 1)}"
    if not found.finished:
        return f"{found.state}: {counts.done} of {things} ended {_described(found)}".rstrip()
    lines = [f"{found.outcome}: {things}: {_described(found) or 'nothing to do'}"]
    if counts.failed:
        lines.append(f"  each by itself: sluice job {found.id} --failed")
    if found.kind == Kind.BULK_IMPORT:
        lines.append(f"  what became of its files: sluice pull --job {found.id}")
    if found.kind == Kind.BULK_EXPORT:
        lines.append(f"  its files: sluice export --job {found.id} --to DIR")
    return "\n".join(lines)
