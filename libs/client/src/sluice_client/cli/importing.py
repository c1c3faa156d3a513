"""`sluice import`."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group

from sluice_client.cli.progress import JobsProgress, described, showing, total_of
from sluice_client.cli.session import INCOMPLETE, Session, session_of, table
from sluice_client.client import SluiceClient
from sluice_client.importing import ImportFileError, parse
from sluice_client.models import ConflictResolution, ImportRequest, ImportResult, Job, JobSummary
from sluice_client.trials import Forecast
from sluice_contracts.words import counted

_MOST_REASONS = 10
_UNKNOWN = "unknown: its name is the document's, which is not read for this; items with a name are told of"


def read_request(file: Path, project: str | None, parent: str | None) -> ImportRequest:
    """Read what is to be imported from a file, or from standard input for `-`.

    Raises
    ------
    ImportFileError
        It cannot be read, or holds nothing that can be imported.
    """
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise ImportFileError(f"{file} cannot be read: {error.strerror}.") from None
    return parse(data, project=project, parent=parent)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="request JSON, or references as text, CSV, NDJSON; -: stdin")],
    project: Annotated[str | None, typer.Option(help="owner/slug, for items that name no place")] = None,
    parent: Annotated[str | None, typer.Option(help="a folder's id, for items that name no place")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="a label for every file; may be repeated")] = None,
    conflict: Annotated[
        ConflictResolution | None, typer.Option(help="what to do when a name is taken", case_sensitive=False)
    ] = None,
    key: Annotated[str | None, typer.Option(help="run again with the same key: the same jobs")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="until all is imported, with progress")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would happen")] = False,
) -> None:
    """Import documents into a project, in jobs of up to 100 items."""
    session = session_of(context)
    if dry_run:
        _check(session, file, project, parent, conflict)
        return

    async def work(client: SluiceClient) -> tuple[list[Job], list[ImportResult]]:
        request = read_request(file, project, parent)
        accepted = await client.import_documents(
            request.items,
            conflict_resolution=conflict or request.conflict_resolution,
            tags=[*(request.tags or ()), *(tag or ())] or None,
            key=key,
            accepted=None if session.as_json else lambda job: session.err.print(f"job {job.id}"),
        )
        ids = [job.id for job in accepted]
        if wait:
            return await follow(session, client, ids, len(request.items))
        return [await client.job(job, results=0) for job in ids], []

    jobs, failed = session.call(work)
    session.show(outcome(jobs, failed), lambda: summary(jobs, failed))
    if wait and any(job.counts.failed or job.counts.cancelled for job in jobs):
        raise typer.Exit(INCOMPLETE)


def _check(
    session: Session,
    file: Path,
    project: str | None,
    parent: str | None,
    conflict: ConflictResolution | None,
) -> None:
    async def work(client: SluiceClient) -> tuple[ImportRequest, list[Forecast]]:
        request = read_request(file, project, parent)
        rule = conflict or request.conflict_resolution
        return request, await client.check_import(request.items, conflict_resolution=rule)

    request, found = session.call(work)
    documents = [item.fhir_document_reference for item in request.items]
    rows = [(it.item, it.outcome, it.name, documents[it.item]) for it in found]
    shown = table(("item", "would be", "name", "document"), rows, "Nothing to do.")
    notes = [_UNKNOWN] if any(it.outcome == "unknown" for it in found) else []
    session.show(found, lambda: Group(shown, *notes))


async def follow(
    session: Session, client: SluiceClient, jobs: Sequence[str], expected: int = 0
) -> tuple[list[Job], list[ImportResult]]:
    """Show jobs' progress until they have finished; gives them and the results of items without a file."""
    with showing(session.err, "importing", quiet=session.as_json) as display:
        finished = await client.wait_all(jobs, on_change=JobsProgress(display, expected))
    bad = [job.id for job in finished if job.counts.failed or job.counts.cancelled]
    return finished, [result for job in bad async for result in client.results(job) if result.error]


def outcome(jobs: Sequence[JobSummary], failed: Sequence[ImportResult]) -> dict[str, Any]:
    """Give what `--json` prints of jobs."""
    return {"jobs": list(jobs), "failed": list(failed)}


def summary(jobs: Sequence[Job], failed: Sequence[ImportResult]) -> Any:
    """Give the end of an import in words: counts, and why items have no file."""
    if not all(job.finished for job in jobs):
        return "\n".join(f"follow it: sluice job {job.id} --watch" for job in jobs)
    counts = total_of(jobs)
    text = f"{counted(counts.total, 'item')}: {described(counts) or 'nothing to do'}"
    reasons = Counter((it.error.code, it.error.message) for it in failed if it.error)
    common = reasons.most_common(_MOST_REASONS)
    lines = [f"  {number} x {message} ({code})" for (code, message), number in common]
    if lines:
        with_failures = [job.id for job in jobs if job.counts.failed]
        which = with_failures[0] if len(with_failures) == 1 else "ID"
        lines.append(f"  each by itself: sluice job {which} --failed")
    return "\n".join([text, *lines])
