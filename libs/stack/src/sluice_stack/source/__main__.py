"""Run the demo source as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from sluice_stack.source.protection import Credentials
from sluice_stack.source.server import SAMPLE, SourceServer


async def _serve(server: SourceServer) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await server.start()
    typer.echo(server.url)
    await stop.wait()
    await server.stop()


Port = Annotated[int, typer.Option(envvar="SLUICE_SOURCE_PORT", help="0: a free one")]
Host = Annotated[str, typer.Option(envvar="SLUICE_SOURCE_HOST", help="the address to listen on")]
Url = Annotated[str, typer.Option(envvar="SLUICE_SOURCE_URL", help="as clients see it, if behind a proxy")]
Synthea = Annotated[
    Path, typer.Option(envvar="SLUICE_SOURCE_SYNTHEA", help="the folder with Synthea's files")
]
Bearer = Annotated[str, typer.Option(envvar="SLUICE_SOURCE_BEARER", help="the token that /bearer/fhir takes")]
Secret = Annotated[
    str,
    typer.Option(
        envvar="SLUICE_SOURCE_CLIENT_SECRET", help="the secret of the client `sluice` at /oauth/token"
    ),
]


def _command(
    port: Port = 8090,
    synthea: Synthea = SAMPLE,
    bearer: Bearer = "",
    client_secret: Secret = "",
    host: Host = "127.0.0.1",
    url: Url = "",
) -> None:
    made = Credentials()
    credentials = Credentials(bearer=bearer or made.bearer, client_secret=client_secret or made.client_secret)
    folder = synthea if (synthea / "Patient.ndjson.gz").exists() else None
    try:
        uvloop.run(_serve(SourceServer(folder, port, credentials, host=host, url=url.rstrip("/"))))
    except OSError as error:
        typer.echo(f"the demo source cannot listen on port {port}: {error.strerror}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(_command)
