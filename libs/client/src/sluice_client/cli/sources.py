"""`sluice sources`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Group
from rich.table import Table

from sluice_client.cli.session import session_of, table
from sluice_client.client import SluiceClient
from sluice_client.errors import SluiceError
from sluice_client.operating import Source, SourceHealth
from sluice_contracts.wire import UNREADABLE
from sluice_contracts.words import counted

sources = typer.Typer(help="FHIR servers to import from (operators).", no_args_is_help=True)

_Headers = Annotated[
    list[str] | None,
    typer.Option(help="name of a header field that submitters may give, all of them; may be repeated"),
]


@sources.command("list")
def list_sources(context: typer.Context) -> None:
    """List the registered servers."""
    session = session_of(context)
    found: list[Source] = session.call(lambda client: client.sources())
    rows = [(it.id, it.name, it.base_url, it.auth.get("type"), "yes" if it.enabled else "no") for it in found]
    headings = ("id", "name", "base URL", "auth", "enabled")
    session.show(found, lambda: table(headings, rows, "No sources yet."))


@sources.command("show")
def show_source(
    context: typer.Context, source: Annotated[str, typer.Argument(metavar="ID", help="the source")]
) -> None:
    """Show how a server is registered, without its secrets."""
    session = session_of(context)
    found: Source = session.call(lambda client: client.source(source))
    facts = msgspec.to_builtins(found)
    rows = [(name, value) for name, value in facts.items() if value not in (None, [], "")]
    session.show(found, lambda: table(("what", "is"), rows, ""))


@sources.command("add")
def add_source(
    context: typer.Context,
    name: str,
    base_url: str,
    scrape_schema: Annotated[str | None, typer.Option(help="what makes metadata; else matched")] = None,
    concurrency: Annotated[int | None, typer.Option(help="most requests at once")] = None,
    rate: Annotated[float | None, typer.Option(help="most requests a second")] = None,
    attachment_prefix: Annotated[
        list[str] | None, typer.Option(help="further place attachments may be read from; may be repeated")
    ] = None,
    request_header: _Headers = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="JSON with further fields of the request, such as auth"),
    ] = None,
) -> None:
    """Register a FHIR server; documents are imported from registered servers only."""
    session = session_of(context)

    async def work(client: SluiceClient) -> Source:
        fields = _settings(settings)
        fields |= {
            key: value
            for key, value in {
                "scrape_schema": scrape_schema,
                "max_concurrency": concurrency,
                "max_requests_per_second": rate,
                "attachment_prefixes": attachment_prefix,
                "request_headers": request_header,
            }.items()
            if value is not None
        }
        return await client.add_source(name, base_url, **fields)

    made = session.call(work)
    session.show(made, lambda: made.id)


@sources.command("change")
def change_source(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="ID", help="the source")],
    name: Annotated[str | None, typer.Option(help="what people call it")] = None,
    scrape_schema: Annotated[str | None, typer.Option(help="what makes metadata")] = None,
    concurrency: Annotated[int | None, typer.Option(help="most requests at once")] = None,
    rate: Annotated[float | None, typer.Option(help="most requests a second")] = None,
    attachment_prefix: Annotated[
        list[str] | None, typer.Option(help="place attachments may be read from, for all so far; repeatable")
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="whether it is read from at all")
    ] = None,
    request_header: _Headers = None,
    settings: Annotated[
        Path | None, typer.Option(help="JSON with further fields of the request, such as auth")
    ] = None,
) -> None:
    """Change a server, such as its credentials; what is not given stays, and so does the base URL."""
    session = session_of(context)
    given = {
        "name": name,
        "scrape_schema": scrape_schema,
        "max_concurrency": concurrency,
        "max_requests_per_second": rate,
        "attachment_prefixes": attachment_prefix,
        "request_headers": request_header,
        "enabled": enabled,
    }

    async def work(client: SluiceClient) -> Source:
        changes = _settings(settings) | {key: value for key, value in given.items() if value is not None}
        if not changes:
            raise typer.BadParameter("say what to change")
        return await client.change_source(source, **changes)

    changed = session.call(work)
    session.show(changed, lambda: f"changed; revision {changed.revision}")


def _settings(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise SluiceError(f"{path} cannot be read: {error.strerror}.") from None
    except UNREADABLE:
        raise SluiceError(f"{path} is no JSON object.") from None


@sources.command("health")
def source_health(
    context: typer.Context, source: Annotated[str, typer.Argument(metavar="ID", help="the source")]
) -> None:
    """Tell how a server does: what it bears now, and its answers of the last minutes."""
    session = session_of(context)
    found: SourceHealth = session.call(lambda client: client.source_health(source))
    session.show(found, lambda: Group(_summary(found), _minutes(found)))


def _summary(found: SourceHealth) -> str:
    def limit(now: float | None, registered: float | None) -> str:
        return f"{_number(now)} (registered: {_number(registered)})"

    lines = [
        f"{found.source}: {found.state}",
        f"calls at once: {limit(found.at_once, found.registered_at_once)}",
        f"calls a second: {limit(found.per_second, found.registered_per_second)}",
        f"now: {found.calls_per_second:.1f} a second from {counted(found.processes, 'process', 'processes')}",
    ]
    if found.usual_seconds is not None:
        lines.append(f"usually answers after {found.usual_seconds:.2f} s")
    if found.held_until is not None:
        lines.append(f"asked to be left alone until {found.held_until:%Y-%m-%d %H:%M:%S} UTC")
    if (alert := found.alert) is not None:
        lines.append(
            f"since {alert.noticed_on:%Y-%m-%d %H:%M:%S} UTC: {counted(alert.failed, 'attempt')} failed"
            f" for its reasons within {_number(alert.seconds)} s,"
            f" {counted(alert.ended_well, 'item')} ended well"
        )
    return "\n".join(lines)


def _minutes(found: SourceHealth) -> Table | str:
    rows = [
        (f"{it.at:%H:%M}", it.good, it.refused, it.failed, _number(it.mean_seconds)) for it in found.recent
    ]
    return table(("minute (UTC)", "good", "refused", "failed", "seconds"), rows, "No calls lately.")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


@sources.command("remove")
def remove_source(context: typer.Context, id_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Remove a server; items still to be read from it fail."""
    session = session_of(context)
    session.call(lambda client: client.remove_source(id_))
    session.show({"removed": id_}, lambda: "removed")
