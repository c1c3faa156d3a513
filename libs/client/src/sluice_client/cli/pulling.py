"""`sluice pull`: FHIR data in bulk, from a registered source into the service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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
    if bundles is not None and job is not None:
        path, which = bundles, job
        size = session.call(lambda client: client.save_pull_bundles(which, path), "run it again")
        session.show({"file": str(path), "bytes": size}, lambda: f"{size} bytes in {path}")
        return
    following = Following(session, problems)

    async def work(client: SluiceClient) -> Pulled | PullStatus | None:
        if cancel and job is not None:
            await client.cancel_pull(job)
            return None
        if request is not None:
            await following.begun(client.start_pull(request, key=key))
        else:
            following.job = job
        if wait:
            return await following.end(client)
        return await following.look(client) if job is not None else PullStatus(job=following.job or "")

    following.show(session.call(work, following.interrupted))


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
        self.job: str | None = None
        self._session = session
        self._problems = problems

    async def begun(self, starting: Awaitable[str]) -> None:
        """Wait for an import's kick-off, and say its id."""
        asking = asyncio.ensure_future(starting)
        try:
            self.job = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Whoever interrupts waits for this one answer: without it nobody could find the import again.
            self.job = await asking
            raise
        if not self._session.as_json:
            self._session.err.print(f"job {printable(self.job)}", markup=False)

    async def end(self, client: SluiceClient) -> Pulled:
        """Show the import's progress until it has ended."""
        with showing_pull(self._session.err, quiet=self._session.as_json) as progress:
            return await client.wait_for_pull(self.job or "", on_status=progress, problems=self._problems)

    async def look(self, client: SluiceClient) -> Pulled | PullStatus:
        """Give how the import stands, and what it came to if it has ended."""
        status = await client.pull_status(self.job or "")
        if not status.finished:
            return status
        return await client.wait_for_pull(self.job or "", problems=self._problems)

    def interrupted(self) -> str:
        """Say what to do after Ctrl-C."""
        if self.job is None:
            return "nothing was begun"
        return f"the import goes on; to follow it: sluice pull --job {printable(self.job)} --wait"

    def show(self, found: Pulled | PullStatus | None) -> None:
        """Print what came of it, and end the process with 1 if something could not be loaded."""
        if found is None:
            self._session.show({"cancelled": True}, lambda: "cancelled")
        elif isinstance(found, PullStatus):
            self._session.show(found, lambda: Text(_standing(found)))
        else:
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
