"""`sluice export`: FHIR data in bulk, to a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct, field
from rich.console import Group

from sluice_client.cli.export_progress import label, showing_export
from sluice_client.cli.session import INCOMPLETE, Session, session_of, table
from sluice_client.client import SluiceClient
from sluice_client.export_requests import ExportLevel, ExportRequest
from sluice_client.export_run import Exported
from sluice_client.manifests import ExportFileKind
from sluice_contracts.wire import UNREADABLE
from sluice_contracts.words import counted

_MANY = "may be repeated, or a list with commas"


def export(
    context: typer.Context,
    to: Annotated[Path, typer.Option("--to", "-o", help="the folder to export to, or to go on in")],
    group: Annotated[str | None, typer.Option(help="a group's id: the data of its patients")] = None,
    job: Annotated[str | None, typer.Option("--job", help="an export that was begun elsewhere")] = None,
    patients: Annotated[bool, typer.Option("--patients", help="the data of all patients")] = False,
    system: Annotated[bool, typer.Option("--system", help="everything")] = False,
    type_: Annotated[list[str] | None, typer.Option("--type", help=f"only this type; {_MANY}")] = None,
    since: Annotated[str | None, typer.Option(help="only what changed after (date or time; UTC)")] = None,
    until: Annotated[str | None, typer.Option(help="only what changed up to (date or time; UTC)")] = None,
    type_filter: Annotated[
        list[str] | None, typer.Option(help="a search such as Observation?status=final; may be repeated")
    ] = None,
    elements: Annotated[list[str] | None, typer.Option(help=f"only these elements; {_MANY}")] = None,
    patient: Annotated[list[str] | None, typer.Option(help=f"only this patient's data; {_MANY}")] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="associated data, such as LatestProvenanceResources")
    ] = None,
    by_patient: Annotated[bool, typer.Option("--by-patient", help="one patient after the other")] = False,
    early: Annotated[bool, typer.Option("--early", help="download while the export still runs")] = False,
    lenient: Annotated[bool, typer.Option("--lenient", help="ignore what is not supported")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="download it, or only start it")] = True,
    keep: Annotated[bool, typer.Option("--keep", help="do not delete it at the service at the end")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="delete what is begun, begin anew")] = False,
    gzip: Annotated[
        bool | None, typer.Option("--gzip/--no-gzip", help="compress on the way; by default if it pays")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, max=32, help="files downloaded at the same time")] = 4,
) -> None:
    """Export FHIR data to a folder, with progress.

    Run it again after Ctrl-C, or after anything else, to go on: sluice export --to DIR is enough. What was
    downloaded is checked by size, SHA-256 and count, and deleted at the service when all of it is here.
    """
    session = session_of(context)
    wish = ExportRequest(
        types=members_of(type_),
        since=instant_of(since, "--since"),
        until=instant_of(until, "--until"),
        type_filters=tuple(type_filter or ()),
        elements=members_of(elements),
        patients=members_of(patient),
        include_associated_data=tuple(include or ()),
        organize_output_by="Patient" if by_patient else None,
        allow_partial_manifests=early,
        lenient=lenient,
    )
    request = _request(wish, group, patients=patients, system=system)
    if job is not None and (request is not None or restart):
        raise typer.BadParameter("an export that was begun cannot be asked for anything else")

    async def work(client: SluiceClient) -> Exported:
        with showing_export(session.err, quiet=session.as_json or not wait) as progress:
            exporting = partial(client.export, to, request, job=job, wait=wait, keep=keep)
            return await exporting(restart=restart, at_once=at_once, gzip=gzip, progress=progress)

    done = session.call(work, interrupted=f"to go on: sluice export --to {to}")
    _show(session, done, to)


def _request(wish: ExportRequest, group: str | None, *, patients: bool, system: bool) -> ExportRequest | None:
    """Give what is asked for, of whom; None where only the folder is named."""
    chosen = sum((group is not None, patients, system))
    if chosen > 1 or (chosen == 0 and wish != ExportRequest()):
        raise typer.BadParameter("give one of --group, --patients and --system")
    if chosen == 0:
        return None
    level = (
        ExportLevel.GROUP if group is not None else ExportLevel.PATIENT if patients else ExportLevel.SYSTEM
    )
    return msgspec.structs.replace(wish, level=level, group=group)


def _show(session: Session, done: Exported, to: Path) -> None:
    """Print what came of it, and end the process with 1 if the service reports errors."""
    session.show(done, lambda: summary(done))
    problems = errors_of(done)
    if problems:
        told = f"the service reports {counted(problems, 'error')}: see {to / 'errors'}"
        session.err.print(told, markup=False)
        raise typer.Exit(INCOMPLETE)


def members_of(values: Sequence[str] | None) -> tuple[str, ...]:
    """Give the members of an option that may be repeated, or a list with commas."""
    return tuple(member.strip() for value in values or () for member in value.split(",") if member.strip())


def instant_of(text: str | None, option: str) -> datetime | None:
    """Read a date or a time; without a zone it is UTC.

    Raises
    ------
    typer.BadParameter
        It is neither.
    """
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{option} takes a date or a time, such as 2026-01-31T12:00:00Z") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def summary(done: Exported) -> Any:
    """Give an export in words: what is there, by type."""
    if not done.complete:
        return f"started; to go on: sluice export --to {done.folder}"
    found: dict[str, Counter[str]] = {}
    for file in done.files.values():
        sums = found.setdefault(label(file), Counter())
        sums.update(files=1, resources=file.count or 0, bytes=file.size or 0)
    rows = [(name, it["files"], it["resources"], it["bytes"]) for name, it in sorted(found.items())]
    total = sum((it for it in found.values()), Counter[str]())
    line = f"{counted(total['resources'], 'resource')}, {counted(total['bytes'], 'byte')} in {done.folder}"
    if done.transaction_time is not None:
        line += f", as of {done.transaction_time.isoformat()}"
    return Group(table(("type", "files", "resources", "bytes"), rows, "There is nothing to export."), line)


class _Issue(Struct):
    severity: str = ""


class _Outcome(Struct):
    issue: list[_Issue] = field(default_factory=list)


def errors_of(done: Exported) -> int:
    """Count the errors, not the warnings, that the service reports with an export."""
    if not done.complete:
        return 0
    found = 0
    for name, file in done.files.items():
        if file.kind is ExportFileKind.ERROR:
            with (Path(done.folder) / name).open("rb") as lines:
                found += sum(_is_error(line) for line in lines)
    return found


def _is_error(line: bytes) -> bool:
    try:
        outcome = msgspec.json.decode(line, type=_Outcome)
    except UNREADABLE:
        return False
    return any(issue.severity in ("error", "fatal") for issue in outcome.issue)
