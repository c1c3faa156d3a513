"""The commands, put together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from sluice_client.cli.audit import audit
from sluice_client.cli.bulk_submitting import bulk_submit, bulk_submit_status
from sluice_client.cli.config import DEFAULT, Config
from sluice_client.cli.doctor import doctor
from sluice_client.cli.editing import edit, mkdir, move, remove
from sluice_client.cli.exporting import export
from sluice_client.cli.exports import exports
from sluice_client.cli.files import download, files
from sluice_client.cli.grants import grants
from sluice_client.cli.groups import groups
from sluice_client.cli.importing import import_
from sluice_client.cli.jobs import job, jobs
from sluice_client.cli.keys import keys
from sluice_client.cli.letters import letters
from sluice_client.cli.login import login, logout, register, whoami
from sluice_client.cli.measures import measures
from sluice_client.cli.projects import projects
from sluice_client.cli.pulling import pull
from sluice_client.cli.schemas import schemas
from sluice_client.cli.session import Session
from sluice_client.cli.sources import sources
from sluice_client.cli.submitting import submit_data
from sluice_client.cli.webhooks import webhooks

EXTENSIONS = "sluice.commands"
"""The entry-point group of further commands; each names a typer application or a function."""

app = typer.Typer(
    name="sluice",
    help="Imports documents and bulk data from FHIR servers, and exports FHIR data in bulk.",
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
    ca: Annotated[
        Path | None,
        typer.Option(envvar="SLUICE_CA", help="a file with certificates to trust beside the system's"),
    ] = None,
) -> None:
    """Take note of what comes before the command."""
    context.obj = Session(Config(), profile, as_json, console(sys.stdout), console(sys.stderr), ca)


app.command()(login)
app.command()(logout)
app.command()(register)
app.command()(whoami)
app.command("import")(import_)
app.command()(jobs)
app.command()(job)
app.command()(files)
app.command()(doctor)
app.command()(download)
app.command()(mkdir)
app.command()(edit)
app.command()(move)
app.command()(remove)
app.command()(export)
app.command()(pull)
app.command("submit-data")(submit_data)
app.command("bulk-submit")(bulk_submit)
app.command("bulk-submit-status")(bulk_submit_status)
app.add_typer(exports, name="exports")
app.add_typer(projects, name="projects")
app.add_typer(sources, name="sources")
app.add_typer(schemas, name="schemas")
app.add_typer(keys, name="keys")
app.add_typer(grants, name="grants")
app.command("audit")(audit)
app.add_typer(groups, name="groups")
app.add_typer(measures, name="measures")
app.add_typer(webhooks, name="webhooks")
app.add_typer(letters, name="dead-letters")


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
