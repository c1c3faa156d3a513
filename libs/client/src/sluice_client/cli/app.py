"""The commands, put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated, TextIO

import typer
from rich.console import Console

from sluice_client.cli.config import DEFAULT, Config, Profile
from sluice_client.cli.files import download, files
from sluice_client.cli.grants import grants
from sluice_client.cli.groups import groups
from sluice_client.cli.importing import import_, job, jobs
from sluice_client.cli.places import projects, sources
from sluice_client.cli.session import Session, session_of
from sluice_client.client import SluiceClient
from sluice_client.models import Credentials
from sluice_client.oauth import IMPORT_SCOPES

EXTENSIONS = "sluice.commands"
"""The entry-point group of further commands; each names a typer application or a function."""

app = typer.Typer(
    name="sluice",
    help="Imports documents from FHIR servers into projects, and gets files out of them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# A pipe has no width; a table in it should not be folded as if it were a narrow terminal.
_PIPE_WIDTH = 200


def console(file: TextIO) -> Console:
    """Give a console on this file."""
    made = Console(file=file, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _PIPE_WIDTH
    return made


@app.callback()
def options(
    context: typer.Context,
    profile: Annotated[str, typer.Option(envvar="SLUICE_PROFILE", help="which login to use")] = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON for scripts")] = False,
) -> None:
    """Take note of what comes before the command."""
    context.obj = Session(Config(), profile, as_json, console(sys.stdout), console(sys.stderr))


@app.command()
def login(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="the service's address", envvar="SLUICE_URL")],
    auth_url: Annotated[
        str | None, typer.Option(envvar="SLUICE_AUTH_URL", help="the authorization server's, if another")
    ] = None,
    client_id: Annotated[
        str | None, typer.Option(envvar="SLUICE_CLIENT_ID", help="yours, if you have signed up before")
    ] = None,
    client_secret: Annotated[
        str | None,
        typer.Option(envvar="SLUICE_CLIENT_SECRET", help="asked for if not given; better not on the line"),
    ] = None,
    name: Annotated[str, typer.Option(help="what to be called when signing up")] = "sluice command line",
    initial_token: Annotated[
        str | None,
        typer.Option(envvar="SLUICE_INITIAL_TOKEN", help="from operators if sign-up is closed"),
    ] = None,
) -> None:
    """Sign up, or use the client id you have; keeps the credentials for the other commands."""
    session = session_of(context)
    if client_id and not client_secret:
        client_secret = typer.prompt("client secret", hide_input=True, err=True)
    given = Credentials(client_id=client_id, client_secret=client_secret or "") if client_id else None

    async def work() -> Credentials:
        async with SluiceClient(url, auth_url=auth_url, credentials=given) as client:
            credentials = given or await client.sign_up(
                name, scopes=IMPORT_SCOPES, initial_token=initial_token
            )
            await client.token()
            return credentials

    found = session.run(work)

    async def keep() -> None:
        session.config.save(
            Profile(
                url=url.rstrip("/"),
                auth_url=auth_url,
                client_id=found.client_id,
                client_secret=found.client_secret,
                registration_token=found.registration_token,
                registration_uri=found.registration_uri,
            ),
            session.profile,
        )

    session.run(keep)
    kept = {"client_id": found.client_id, "config": str(session.config.path), "profile": session.profile}
    session.show(kept, lambda: f"Logged in as {found.client_id}; kept in {session.config.path}")


app.command("import")(import_)
app.command()(jobs)
app.command()(job)
app.command()(files)
app.command()(download)
app.add_typer(projects, name="projects")
app.add_typer(sources, name="sources")
app.add_typer(grants, name="grants")
app.add_typer(groups, name="groups")


def main() -> None:
    """Run the command line, with the commands that other packages add (`up`, when the stack is installed)."""
    arguments = json_first(sys.argv[1:])
    named = any(not it.startswith("-") for it in arguments)
    for found in entry_points(group=EXTENSIONS):
        # Loading them takes time that other commands need not wait for.
        if named and found.name not in arguments:
            continue
        added = found.load()
        if isinstance(added, typer.Typer):
            app.add_typer(added, name=found.name)
        else:
            app.command(found.name)(added)
    app(arguments)


def json_first(arguments: Sequence[str]) -> list[str]:
    """Put `--json` before the command, where it belongs, wherever it was written."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    ours = [it for it in arguments[:at] if it != "--json"]
    found = ["--json"] if len(ours) < at else []
    return [*found, *ours, *arguments[at:]]
