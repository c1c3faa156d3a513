"""`sluice-stack up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sluice_stack.cli_profiles import Profiles
from sluice_stack.home import Home
from sluice_stack.jars import JarError
from sluice_stack.layout import DEMO, OPERATOR, Layout, Ports, usual_scale
from sluice_stack.processes import StackError
from sluice_stack.stack import Stack

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)
console = Console(highlight=False)

Scale = Annotated[
    list[str] | None, typer.Option("--scale", metavar="SERVICE=N", help="more processes of a worker")
]
HomeFolder = Annotated[
    Path, typer.Option("--home", envvar="SLUICE_HOME", help="where data, secrets and logs are")
]
WithSource = Annotated[bool, typer.Option(help="run the demo FHIR source too")]


GatewayPort = Annotated[int, typer.Option(envvar="SLUICE_GATEWAY_PORT", help="the API's port")]
AuthPort = Annotated[int, typer.Option(envvar="SLUICE_AUTH_PORT", help="the authorization server's port")]
InsightPort = Annotated[int, typer.Option(envvar="SLUICE_INSIGHT_PORT", help="the port of insight's views")]
SourcePort = Annotated[int, typer.Option(envvar="SLUICE_SOURCE_PORT", help="the demo source's port")]
HealthPort = Annotated[int, typer.Option(envvar="SLUICE_HEALTH_PORT", help="the first of the health ports")]
KafkaPort = Annotated[int, typer.Option(envvar="SLUICE_KAFKA_PORT", help="Kafka's port")]


def parse_scale(values: list[str]) -> dict[str, int]:
    """Read `fetcher=2` and the like.

    Raises
    ------
    StackError
        One is not of that form.
    """
    scale = {}
    for value in values:
        name, _, count = value.partition("=")
        if not count.isdigit():
            raise StackError(f"--scale takes SERVICE=N, such as fetcher=2, not {value!r}")
        scale[name] = int(count)
    return scale


def say(line: str) -> None:
    """Tell the operator one line."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {line}", soft_wrap=True)


def stop_on_terminate() -> None:
    """Let SIGTERM, and the end of the terminal, end this process as Ctrl-C does.

    Ctrl-C itself too, where whoever started this in the background had it ignored.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def show(stack: Stack) -> None:
    """Print where everything is."""
    layout = stack.layout
    places = {"page": f"{layout.gateway_url}/"}
    places["sign in as"] = f"{DEMO}, or {OPERATOR}  (passwords: {layout.home.secrets_file})"
    places |= {"API": layout.gateway_url, "its documentation": f"{layout.gateway_url}/docs"}
    places["authorization server"] = layout.auth_url
    places["rates, stuck jobs (JSON)"] = f"{layout.insight_url}/sources  (and /clients, /jobs, /alerts)"
    if layout.source:
        places["demo FHIR source"] = f"{layout.source_url}/synthea/fhir  (and /ncpi/fhir, /r4/fhir)"
    places["Kafka"] = stack.kafka.bootstrap
    places["Postgres"] = stack.dsn()
    logins = Profiles(layout.home, stack.addresses).path
    places["logins for the command line"] = f"export SLUICE_CONFIG={logins}"
    places["logs"] = str(layout.home.logs)
    console.print("[bold]Sluice is up[/]")
    # Lines rather than a table: what is to be copied stays whole in the narrowest terminal.
    for what, where in places.items():
        console.print(f"  [dim]{what:<28}[/]{escape(where)}", soft_wrap=True, highlight=False)
    console.print("Ctrl-C stops everything; the data stays.")


def watch(stack: Stack, until: Callable[[], bool] = lambda: False) -> None:
    """Keep everything running until Ctrl-C, SIGTERM or `until()`."""
    while not until():
        stack.poll()
        time.sleep(0.2)


@app.command()
def up(
    home: HomeFolder = Path(".sluice"),
    scale: Scale = None,
    source: WithSource = True,
    gateway_port: GatewayPort = Ports.gateway,
    auth_port: AuthPort = Ports.auth,
    source_port: SourcePort = Ports.source,
    health_port: HealthPort = Ports.health,
    kafka_port: KafkaPort = Ports.kafka,
    insight_port: InsightPort = Ports.insight,
) -> None:
    """Start Kafka, Postgres, every service and the demo source; Ctrl-C stops them."""
    stop_on_terminate()
    ports = Ports(gateway_port, auth_port, source_port, health_port, kafka_port, insight_port)
    try:
        layout = Layout(Home(home), ports, usual_scale() | parse_scale(scale or []), source)
        with Stack(layout, say) as stack:
            show(stack)
            watch(stack)
    except KeyboardInterrupt:
        say("stopped")
    except (StackError, JarError) as error:
        console.print(f"[red]sluice cannot run:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None


@app.command()
def status(home: HomeFolder = Path(".sluice")) -> None:
    """Say where the stack is that runs in this folder."""
    addresses = Home(home).running()
    if addresses is None:
        console.print(f"no stack runs in {home}")
        raise typer.Exit(1)
    console.print(f"running: {addresses.gateway} (process {addresses.supervisor})")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
