"""`sluice bulk-submit` and `sluice bulk-submit-status`: data of several manifests that are one submission."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from sluice_client.cli.pulling import line
from sluice_client.cli.session import INCOMPLETE, session_of, text_of
from sluice_client.client import SluiceClient
from sluice_client.content_keys import ContentKey
from sluice_client.pull_requests import PullOutcome
from sluice_client.submission_access import SubmissionAccess, header_fields
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
    headers: Annotated[
        Path | None,
        typer.Option("--headers", help="a file of header fields that its files are asked for with; -: stdin"),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--encryption-key", help="the file of the key that they are encrypted with")
    ] = None,
    oauth: Annotated[
        str | None,
        typer.Option("--oauth-metadata", help="URL of the authorization server that protects them"),
    ] = None,
) -> None:
    """Submit a manifest of data, or end a submission as complete or stopped; it may be repeated.

    Header fields are lines such as "Authorization: Bearer ..."; operators permit which the source takes. The
    key's file holds its 16, 32 or 64 bytes, an oct JWK, or a JWE that delivers it; it is sent encrypted.
    """
    if complete and stop:
        raise typer.BadParameter("give --complete or --stop")
    if manifest is None and not (complete or stop):
        raise typer.BadParameter("give a MANIFEST_URL, --complete or --stop")
    if (manifest is None) is not (base is None):
        raise typer.BadParameter("a MANIFEST_URL and --base go together")
    if manifest is None and (headers or key or oauth):
        raise typer.BadParameter("--headers, --encryption-key and --oauth-metadata need a MANIFEST_URL")
    session = session_of(context)
    which = Submission(submitter=submitter, name=submission, system=system)
    state = SubmissionState.COMPLETED if complete else SubmissionState.STOPPED if stop else None

    async def work(client: SluiceClient) -> list[PullOutcome]:
        access = _access(headers, key, oauth)
        return await client.bulk_submit(
            which, manifest=manifest, base=base, replaces=replaces, state=state, access=access
        )

    told = session.call(work)
    session.show({"submitted": submission, "told": told}, lambda: Group(*map(line, told)))


def _access(headers: Path | None, key: Path | None, oauth: str | None) -> SubmissionAccess | None:
    """Read what is handed over with a manifest; None if nothing is."""
    if headers is None and key is None and oauth is None:
        return None
    return SubmissionAccess(
        headers={} if headers is None else header_fields(text_of(headers)),
        key=None if key is None else ContentKey.read(key),
        oauth_metadata_url=oauth,
    )


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
