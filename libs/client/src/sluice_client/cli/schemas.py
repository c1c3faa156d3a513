"""`sluice schemas`: what metadata is made of documents."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice_client.cli.session import session_of, table
from sluice_client.trials import Trial

schemas = typer.Typer(help="What metadata is made of a source's documents.", no_args_is_help=True)


@schemas.command("list")
def list_schemas(context: typer.Context) -> None:
    """List the scrape schemas."""
    session = session_of(context)
    found = session.call(lambda client: client.scrape_schemas())
    rows = [(f"{it.name}@{it.version}", it.title, ", ".join(each.key for each in it.keys)) for it in found]
    session.show(found, lambda: table(("schema", "for", "keys"), rows, "There are none."))


@schemas.command("try")
def try_schema(
    context: typer.Context,
    document: Annotated[str, typer.Argument(help="the address of a DocumentReference")],
    schema: Annotated[str | None, typer.Option(help="name or name@version; else the one that fits")] = None,
) -> None:
    """Show what metadata a document would get, and import nothing."""
    session = session_of(context)
    found = session.call(lambda client: client.try_scrape_schema(document, schema=schema))
    session.show(found, lambda: table(("key", found.schema), _rows(found), "It would get no metadata."))


def _rows(found: Trial) -> list[tuple[str, object]]:
    missing = [(it.key or it.follow or "", f"({it.code})") for it in found.warnings]
    return [*sorted(found.metadata.items()), *missing]
