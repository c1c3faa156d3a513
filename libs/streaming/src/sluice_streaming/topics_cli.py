"""`sluice-topics`: create the topics, see how far each is handled, redrive dead letters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from sluice_contracts.topics import TOPICS, Topic
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.outcomes import Unavailable
from sluice_streaming.redrive import redrive
from sluice_streaming.topics_admin import create
from sluice_streaming.topics_lag import TopicLag, survey

T = TypeVar("T")
_PAUSE = 1.0
_Kafka = Annotated[str, typer.Option("--kafka", envvar="SLUICE_KAFKA", help="host:port[,…]")]

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command("create")
def create_command(
    kafka: _Kafka = "127.0.0.1:9092",
    replication: Annotated[
        int, typer.Option(envvar="SLUICE_KAFKA_REPLICATION", min=1, help="copies of each partition")
    ] = 1,
    wait: Annotated[
        float, typer.Option(envvar="SLUICE_KAFKA_WAIT", min=0, help="seconds to wait for Kafka to answer")
    ] = 0,
) -> None:
    """Create what is missing and align what is there; safe to run again."""
    changes = _run(_patiently(lambda: create(kafka, replication=replication), wait))
    for verb, names in (("created", changes.created), ("grown", changes.grown), ("altered", changes.altered)):
        for name in names:
            typer.echo(f"{verb} {name}")
    if not (changes.created or changes.grown or changes.altered):
        typer.echo("nothing to change")


@app.command("list")
def list_command(kafka: _Kafka = "127.0.0.1:9092") -> None:
    """Show every topic's records, and how many of them each group has still to handle."""
    rows = [("TOPIC", "PARTITIONS", "RECORDS", "GROUP", "LAG")]
    for topic in _run(survey(kafka)):
        rows.extend(_rows(topic))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command("redrive")
def redrive_command(
    topic: Annotated[str, typer.Argument(help="the topic whose dead letters go back to it")],
    limit: Annotated[int | None, typer.Option(min=1, help="how many at most")] = None,
    kafka: _Kafka = "127.0.0.1:9092",
) -> None:
    """Publish dead letters again, as new messages; each only once."""
    declared = _declared(topic)
    if not declared.redrivable:
        raise typer.BadParameter(f"what died on {declared.name} has ended as failed: start the job again")
    count = _run(redrive(KafkaBackend(kafka), declared, limit))
    typer.echo(f"redriven {count}")


def main() -> None:
    """Run the command line."""
    app()


def _declared(name: str) -> Topic:
    for topic in TOPICS:
        if name in (topic.name, topic.dead) and topic.retries:
            return topic
    names = ", ".join(topic.name for topic in TOPICS if topic.retries)
    raise typer.BadParameter(f"no such topic with dead letters; there are {names}")


def _rows(topic: TopicLag) -> list[tuple[str, str, str, str, str]]:
    size = (topic.name, str(topic.partitions), str(topic.records))
    if not topic.groups:
        return [(*size, "-", "-")]
    return [(*size, group, str(lag)) for group, lag in sorted(topic.groups.items())]


async def _patiently(attempt: Callable[[], Awaitable[T]], wait: float) -> T:
    """Try again until Kafka answers, for so many seconds."""
    deadline = time.monotonic() + wait
    while True:
        try:
            return await attempt()
        except Unavailable:
            if time.monotonic() + _PAUSE > deadline:
                raise
            await asyncio.sleep(_PAUSE)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except Unavailable as away:
        typer.echo(f"{away.what} does not answer", err=True)
    except RuntimeError as error:
        typer.echo(str(error), err=True)
    raise typer.Exit(1)
