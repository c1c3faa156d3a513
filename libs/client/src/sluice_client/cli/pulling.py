"""`sluice pull`: FHIR data in bulk, from a registered source into the service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from sluice_client.cli.exporting import instant_of, members_of
from sluice_client.cli.pull_progress import showing_pull
from sluice_client.cli.session import INCOMPLETE, Session, printable, session_of
from sluice_client.client import SluiceClient
from sluice_client.pull_requests import Pulled, PullOutcome, PullRequest, PullStatus
from sluice_contracts.words import counted

MANY = "may be repeated, or a list with commas"
_STYLES = {"error": "red", "fatal": "red", "warning": "yellow"}


def pull(
    context: typer.Context,
    export_url: Annotated[
        str | None, typer.Argument(metavar="EXPORT_URL", help="where a registered source exports")
    ] = None,
    job: Annotated[str | None, typer.Option("--job", help="go on with an import that was begun")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help=f"only this type; {MANY}")] = None,
    since: Annotated[str | None, typer.Option(help="only what changed after (date or time; UTC)")] = None,
    type_filter: Annotated[
        list[str] | None, typer.Option(help="a search such as Observation?status=final; may be repeated")
    ] = None,
    elements: Annotated[list[str] | None, typer.Option(help=f"only these elements; {MANY}")] = None,
    static: Annotated[bool, typer.Option("--static", help="the address is a manifest that is there")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="load all of it, or nothing")] = False,
    key: Annotated[str | None, typer.Option(help="run again with the same key: the same import")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="until all is loaded, with progress")] = False,
    problems: Annotated[int, typer.Option(min=0, help="the most problems to list; all are counted")] = 20,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="stop it (with --job); what is loaded stays")
    ] = False,
    bundles: Annotated[
        Path | None,
        typer.Option("--bundles", help="write what it brought here, a Bundle a patient (with --job)"),
    ] = None,
) -> None:
    """Import what a FHIR server exports in bulk: the service asks for the export and loads its files.

    The server must be registered (sluice sources). After Ctrl-C the import goes on, and is followed again by
    sluice pull --job ID --wait.
    """
    session = session_of(context)
    request = None
    if export_url is not None:
        request = PullRequest(
            export_url=export_url,
            types=members_of(type_),
            since=instant_of(since, "--since"),
            type_filters=tuple(type_filter or ()),
            elements=members_of(elements),
            static=static,
            strict=strict,
        )
    if (request is None) is (job is None):
        raise typer.BadParameter("give the address of an export, or the --job of an import that was begun")
    if job is not None and (type_ or since or type_filter or elements or static or strict or key):
        raise typer.BadParameter("an import that was begun cannot be asked for anything else")
    if (cancel or bundles) and job is None:
        raise typer.BadParameter("--cancel and --bundles need the --job of an import")
    if request is not None:
        asked = request
        Following(session, problems).begin(lambda client: client.start_pull(asked, key=key), wait=wait)
    elif job is not None and bundles is not None:
        _save_bundles(session, job, bundles)
    elif job is not None and cancel:
        _cancel(session, job)
    elif job is not None:
        Following(session, problems).take_up(job, wait=wait)


def _save_bundles(session: Session, job: str, path: Path) -> None:
    size = session.call(lambda client: client.save_pull_bundles(job, path), "run it again")
    session.show({"file": str(path), "bytes": size}, lambda: f"{counted(size, 'byte')} in {path}")


def _cancel(session: Session, job: str) -> None:
    session.call(lambda client: client.cancel_pull(job), "run it again")
    session.show({"cancelled": True}, lambda: "cancelled")


class Following:
    """An import that a command began, or takes up again, until its end.

    Parameters
    ----------
    session
        The options before the command.
    problems
        How many problems are listed.
    """

    def __init__(self, session: Session, problems: int) -> None:
        self._session = session
        self._problems = problems
        self._job: str | None = None

    def begin(self, start: Callable[[SluiceClient], Awaitable[str]], *, wait: bool) -> None:
        """Begin an import, which gives its id, and follow it to its end if that is waited for."""

        async def work(client: SluiceClient) -> Pulled | PullStatus:
            job = await self._begun(start(client))
            return await self._end(client, job) if wait else PullStatus(job=job)

        self._show(self._session.call(work, self._interrupted))

    def take_up(self, job: str, *, wait: bool) -> None:
        """Follow an import that was begun, or only look how it stands."""
        self._job = job

        async def work(client: SluiceClient) -> Pulled | PullStatus:
            return await (self._end(client, job) if wait else self._look(client, job))

        self._show(self._session.call(work, self._interrupted))

    async def _begun(self, starting: Awaitable[str]) -> str:
        """Wait for an import's kick-off, and say its id."""
        asking = asyncio.ensure_future(starting)
        try:
            self._job = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Whoever interrupts waits for this one answer: without it nobody could find the import again.
            self._job = await asking
            raise
        if not self._session.as_json:
            self._session.err.print(f"job {printable(self._job)}", markup=False)
        return self._job

    async def _end(self, client: SluiceClient, job: str) -> Pulled:
        """Show the import's progress until it has ended."""
        with showing_pull(self._session.err, quiet=self._session.as_json) as progress:
            return await client.wait_for_pull(job, on_status=progress, problems=self._problems)

    async def _look(self, client: SluiceClient, job: str) -> Pulled | PullStatus:
        """Give how the import stands, and what it came to if it has ended."""
        status = await client.pull_status(job)
        return await client.wait_for_pull(job, problems=self._problems) if status.finished else status

    def _interrupted(self) -> str:
        """Say what to do after Ctrl-C."""
        if self._job is None:
            return "nothing was begun"
        return f"the import goes on; to follow it: sluice pull --job {printable(self._job)} --wait"

    def _show(self, found: Pulled | PullStatus) -> None:
        """Print what came of it, and end the process with 1 if something could not be loaded."""
        if isinstance(found, PullStatus):
            self._session.show(found, lambda: Text(_standing(found)))
            return
        self._session.show(found, lambda: _summary(found))
        if found.errors:
            raise typer.Exit(INCOMPLETE)


def _standing(status: PullStatus) -> str:
    said = f"{printable(status.progress)}; " if status.progress else ""
    return f"{said}to follow it: sluice pull --job {printable(status.job)} --wait"


def _summary(done: Pulled) -> Group:
    lines = [line(each) for each in done.outcomes]
    if done.source_time is not None:
        lines.append(Text(f"as of {done.source_time.isoformat()}, which is --since of the next"))
    if done.problems:
        lines += [Text(""), *(line(each) for each in done.problems)]
    total = done.errors + done.warnings
    unlisted = total - len(done.problems)
    if unlisted > 0:
        lines.append(Text(f"and {unlisted} more: sluice pull --job {done.job} --problems {total}"))
    return Group(*lines)


def line(each: PullOutcome) -> Text:
    """Give an outcome as a line, with its severity if it is a bad one."""
    style = _STYLES.get(each.severity)
    text = printable(each.text)
    return Text(text) if style is None else Text.assemble((f"{each.severity}: ", style), text)
