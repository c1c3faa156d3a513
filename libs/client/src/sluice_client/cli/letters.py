"""`sluice dead-letters`: what could not be processed, and having it tried again, through the gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice_client.cli.session import session_of, table
from sluice_client.operating import DeadTopic, Redriven

letters = typer.Typer(help="Messages that could not be processed (operators).", no_args_is_help=True)


@letters.command("list")
def list_letters(
    context: typer.Context,
    topic: Annotated[str | None, typer.Argument(help="only this topic's, each by itself")] = None,
) -> None:
    """Count what could not be processed, by topic; or list a topic's, the newest first."""
    session = session_of(context)
    found: list[DeadTopic] = session.call(lambda client: client.dead_letters())
    if topic is None:
        rows = [(it.topic, it.waiting, "yes" if it.redrivable else "no") for it in found if it.waiting]
        session.show(found, lambda: table(("topic", "waiting", "redrive helps"), rows, "No dead letters."))
        return
    wanted = [it for it in found if it.topic == topic]
    each = [
        (
            f"{it.origin_topic} {it.origin_partition}/{it.origin_offset}",
            it.code,
            it.status,
            it.attempts,
            it.died_at,
            it.sha256[:12],
        )
        for one in wanted
        for it in one.letters
    ]
    headings = ("where it was", "why", "HTTP", "attempts", "when", "SHA-256")
    session.show(wanted, lambda: table(headings, each, f"No dead letters of {topic}."))


@letters.command("redrive")
def redrive(
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="as the list names it")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="the most, the oldest first")] = 100,
) -> None:
    """Have a topic's dead letters tried again, each once, when their cause is gone."""
    session = session_of(context)
    done: Redriven = session.call(lambda client: client.redrive(topic, limit=limit))
    session.show(done, lambda: f"{done.redriven} went back to {done.topic}")
