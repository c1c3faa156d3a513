"""`sluice jobs` and `sluice job`: jobs of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from rich.text import Text

from sluice_client.any_jobs import AnyJob, HeldUp, JobCounts
from sluice_client.cli.exporting import instant_of
from sluice_client.cli.job_items import Item, failed_table, items_of, items_table, notes_of
from sluice_client.cli.progress import showing
from sluice_client.cli.session import Session, session_of, table
from sluice_client.client import SluiceClient
from sluice_client.errors import NotFoundError
from sluice_client.models import JobState
from sluice_contracts.words import counted

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
    rows = [(it.id, it.kind, _state(it), *_counted(it.counts), it.submitted_on) for it in found]
    headings = ("job", "kind", "state", "items", "done", "skipped", "failed", "submitted")
    session.show(found, lambda: table(headings, rows, "No jobs."))


async def _watched(session: Session, client: SluiceClient) -> None:
    async with aclosing(client.job_changes()) as changes:
        async for found in changes:
            session.show(found, lambda: Text(f"{found.id} {found.kind} {_shown(found)}".partition("\n")[0]))  # noqa: B023
            session.out.file.flush()


def _state(found: AnyJob) -> str:
    return "stuck" if found.stuck_since else found.outcome or found.state


def _counted(counts: JobCounts) -> tuple[int, int, int, int]:
    return counts.items, counts.attached, counts.skipped, counts.failed + counts.cancelled


def job(
    context: typer.Context,
    id_: Annotated[str, typer.Argument(metavar="ID")],
    watch: Annotated[bool, typer.Option("--watch", help="until it has finished, with progress")] = False,
    failed: Annotated[bool, typer.Option("--failed", help="list the items that came to nothing")] = False,
    items: Annotated[
        bool, typer.Option("--items", help="list all items, and what their sources did not have")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="stop what has not ended yet")] = False,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="run what failed again, as a new job (document imports)")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="delete a finished export, or forget a bulk import")
    ] = False,
) -> None:
    """Show a job of any kind; follow it, list its items, run what failed again, cancel or delete it."""
    listing = failed or items
    if cancel + rerun + delete > 1 or failed + items > 1 or ((cancel or delete) and (watch or listing)):
        raise typer.BadParameter("one thing at a time; --rerun may be followed by --watch")
    session = session_of(context)
    if delete:
        session.call(lambda client: client.delete_job(id_))
        session.show({"deleted": id_}, lambda: "deleted")
        return

    async def work(client: SluiceClient) -> tuple[AnyJob | None, list[Item], str]:
        which = id_
        if rerun:
            which = (await client.rerun(id_)).id
            if not session.as_json:
                session.err.print(f"job {which}", markup=False)
        if cancel:
            await client.cancel_job(id_)
            # Bulk imports and exports are gone then; items of a document import are told of.
            with suppress(NotFoundError):
                return await client.any_job(id_), [], ""
            return None, [], ""
        found = await _followed(session, client, which) if watch else await client.any_job(which)
        if listing:
            return found, await items_of(client, found, failed=failed), ""
        return found, [], "" if session.as_json else await notes_of(client, found)

    found, listed, note = session.call(work)
    if listing and not session.as_json:
        session.out.print(items_table(listed) if items else failed_table(listed))
        return
    told = {"job": found, "items" if items else "failed": listed}
    session.show(told, lambda: "cancelled" if found is None else _shown(found, note))


async def _followed(session: Session, client: SluiceClient, job: str) -> AnyJob:
    with showing(session.err, "job", quiet=session.as_json) as display:

        def told(now: AnyJob) -> None:
            display.update(now.counts.done, now.counts.items, _described(now))

        return await client.wait_for_job(job, on_change=told)


def _described(found: AnyJob) -> str:
    counts = found.counts
    numbers: Sequence[tuple[int, str]] = (
        (counts.attached, _DONE.get(found.kind, "done")),
        (counts.skipped, "skipped"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
    )
    return ", ".join(f"{number} {word}" for number, word in numbers if number)


def _slow(found: AnyJob) -> list[str]:
    """Say what keeps a job from going on as it could."""
    lines = []
    if found.stuck_since is not None:
        lines.append(f"stuck: nothing was heard of it since {found.stuck_since:%Y-%m-%d %H:%M:%S} UTC")
    match found.held_up:
        case HeldUp(reason="slowed"):
            lines.append("slowed: its source refused calls, or became slow, and is asked less often for now")
        case HeldUp(reason="held", until=datetime() as until):
            lines.append(f"waits: its source asked to be left alone until {until:%Y-%m-%d %H:%M:%S} UTC")
        case HeldUp(reason="failing"):
            lines.append("waits: nothing that its source answers is of use; it is asked again by itself")
    return lines


def _shown(found: AnyJob, note: str = "") -> str:
    counts, thing = found.counts, _THINGS.get(found.kind, "item")
    things = counted(counts.items, thing)
    if not found.finished:
        line = f"{found.state}: {counts.done} of {things} ended {_described(found)}".rstrip()
        return "\n  ".join([line, *_slow(found)])
    lines = [f"{found.outcome}: {things}: {_described(found) or 'nothing to do'}"]
    if counts.failed:
        lines.append(f"  each by itself: sluice job {found.id} --failed")
    if note:
        lines.append(f"  {note}: sluice job {found.id} --items")
    if found.kind == Kind.BULK_IMPORT:
        lines.append(f"  what became of its files: sluice pull --job {found.id}")
    if found.kind == Kind.BULK_EXPORT:
        lines.append(f"  its files: sluice export --job {found.id} --to DIR")
    return "\n".join(lines)
