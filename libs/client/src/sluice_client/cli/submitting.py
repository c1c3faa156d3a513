"""`sluice submit-data`: data for a quality measure, from files or from a registered source."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sluice_client.cli.exporting import instant_of
from sluice_client.cli.measures import listed_of
from sluice_client.cli.pulling import Following
from sluice_client.cli.session import session_of


def submit_data(
    context: typer.Context,
    measure: Annotated[str, typer.Argument(metavar="MEASURE", help="the measure's id")],
    report: Annotated[Path, typer.Option("--report", help="the MeasureReport, in JSON")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="resources, Bundles or NDJSON (or .gz)")
    ] = None,
    export_url: Annotated[
        str | None, typer.Option(help="pull what the measure needs from this export instead of FILEs")
    ] = None,
    since: Annotated[str | None, typer.Option(help="only what changed after (date or time; UTC)")] = None,
    static: Annotated[bool, typer.Option("--static", help="the address is a manifest that is there")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="load all that is pulled, or nothing")] = False,
    key: Annotated[str | None, typer.Option(help="run again with the same key: the same import")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="until all is loaded, with progress")] = False,
    problems: Annotated[int, typer.Option(min=0, help="the most problems to list; all are counted")] = 20,
) -> None:
    """Submit data for a measure: store them with the report, or have them pulled from a registered source.

    What is pulled is followed as by sluice pull, also after Ctrl-C: sluice pull --job ID --wait.
    """
    session = session_of(context)
    if export_url is None:
        if since or static or strict or key or wait:
            raise typer.BadParameter("--since, --static, --strict, --key and --wait go with --export-url")
        stored = session.call(
            lambda client: client.submit_data(measure, report, files or ()),
            "submit the same again: nothing is stored twice",
        )
        session.show(stored, lambda: listed_of(stored))
        return
    if files:
        raise typer.BadParameter("give FILEs, or --export-url")
    url, after = export_url, instant_of(since, "--since")
    Following(session, problems).begin(
        lambda client: client.start_submit_data(
            measure, report, url, since=after, static=static, strict=strict, key=key
        ),
        wait=wait,
    )
