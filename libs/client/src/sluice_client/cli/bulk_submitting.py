"""`sluice bulk-submit` and `sluice bulk-submit-status`: data of several manifests that are one submission."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from sluice_client.cli.pulling import line
from sluice_client.cli.session import INCOMPLETE, session_of
from sluice_client.client import SluiceClient
from sluice_client.pull_requests import PullOutcome
from sluice_client.submissions import Submission, SubmissionState, SubmissionStatus

_Submitter = Annotated[str, typer.Option("--submitter", help="who submits: an identifier")]
_Name = Annotated[str, typer.Option("--submission", help="what the submitter calls it")]
_System = Annotated[str, typer.Option("--system", help="what the submitter's identifier is of: a URI")]


def bulk_submit(
    context: typer.Context,
    submitter: _Submitter,
    submission: _Name,
    manifest: Annotated[
        str | None, typer.Argument(metavar="MANIFEST_URL", help="a manifest, on a registered source")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="the FHIR base URL its data are of")] = None,
    replaces: Annotated[
        str | None, typer.Option("--replaces", help="an earlier manifest's address: in its place")
    ] = None,
    complete: Annotated[bool, typer.Option("--complete", help="nothing more is to come")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="take back all that it stored")] = False,
    system: _System = "",
) -> None:
    """Submit a manifest of data, or end a submission as complete or stopped; it may be repeated."""
    if complete and stop:
        raise typer.BadParameter("give --complete or --stop")
    if manifest is None and not (complete or stop):
        raise typer.BadParameter("give a MANIFEST_URL, --complete or --stop")
    if (manifest is None) is not (base is None):
        raise typer.BadParameter("a MANIFEST_URL and --base go together")
    session = session_of(context)
    which = Submission(submitter=submitter, name=submission, system=system)
    state = SubmissionState.COMPLETED if complete else SubmissionState.STOPPED if stop else None
    session.call(
        lambda client: client.bulk_submit(which, manifest=manifest, base=base, replaces=replaces, state=state)
    )
    session.show({"submitted": submission}, lambda: "taken")


def bulk_submit_status(
    context: typer.Context,
    submitter: _Submitter,
    submission: _Name,
    system: _System = "",
    wait: Annotated[bool, typer.Option("--wait", help="until it is complete or stopped")] = False,
) -> None:
    """Say how a submission stands, and what became of its manifests so far."""
    session = session_of(context)
    which = Submission(submitter=submitter, name=submission, system=system)

    async def work(client: SluiceClient) -> tuple[SubmissionStatus, list[PullOutcome]]:
        if wait:
            status = await client.wait_for_submission(which)
        else:
            status = await client.submission_status(await client.ask_submission(which))
        return status, await client.submission_outcomes(status)

    status, outcomes = session.call(work, "the submission goes on")
    standing = "ended" if status.finished else f"open: {status.progress}".rstrip(": ")
    session.show(
        {"finished": status.finished, "outcomes": outcomes},
        lambda: Group(Text(standing), *(line(each) for each in outcomes)),
    )
    if any(each.severity in ("error", "fatal") for each in outcomes):
        raise typer.Exit(INCOMPLETE)
