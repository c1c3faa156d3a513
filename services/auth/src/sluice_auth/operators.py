"""`python -m sluice_auth.operators`: what operators do to the authorization server itself.

Reads SLUICE_POSTGRES and, for keys, SLUICE_SECRET, as the service does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import uuid4

import typer

from sluice_auth.client_secrets import draw
from sluice_auth.keyring import Rotation
from sluice_auth.operator_clients import put_operator, remove_client
from sluice_auth.postgres import PostgresStore
from sluice_auth.settings import KeySettings
from sluice_auth.wiring import make_keyring
from sluice_storage.pool import open_pool

app = typer.Typer(help="Manage operators' clients and signing keys.", no_args_is_help=True)
T = TypeVar("T")

_DSN = typer.Option(..., "--postgres", envvar="SLUICE_POSTGRES", help="postgresql:// URL of role sluice_auth")
# The longest that any access token lives.
_LIFETIME = 300.0


def _run(dsn: str, act: Callable[[PostgresStore], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await open_pool(dsn, size=1, wait=5.0, application="sluice auth operators") as pool:
            return await act(PostgresStore(pool))

    return asyncio.run(main())


@app.command()
def add(name: str = typer.Argument(help="what to call it"), dsn: str = _DSN) -> None:
    """Make an operator's client and show its id and secret, this once."""
    client_id, secret = f"ops-{uuid4().hex[:16]}", draw()
    _run(dsn, lambda store: put_operator(store, client_id, secret, name=name, now=time.time()))
    typer.echo(f"client_id {client_id}\nclient_secret {secret}")


@app.command()
def remove(client_id: str = typer.Argument(help="the client's id"), dsn: str = _DSN) -> None:
    """Remove a client, whoever's it is; its tokens are refused within seconds."""
    if not _run(dsn, lambda store: remove_client(store, client_id, now=time.time(), lifetime=_LIFETIME)):
        typer.echo("there is no such client", err=True)
        raise typer.Exit(1)
    typer.echo("removed")


@app.command()
def rotate_keys(
    at_once: bool = typer.Option(
        False,
        "--at-once",
        help="the keys are compromised: withdraw them all now; every token must be renewed",
    ),
) -> None:
    """Publish a new signing key now; running services take it up by themselves."""
    settings = KeySettings()
    rotation = Rotation.AT_ONCE if at_once else Rotation.NEXT

    async def act(store: PostgresStore) -> None:
        await make_keyring(settings, store, now=time.time).refresh(rotation)

    _run(settings.postgres, act)
    typer.echo("rotated")


if __name__ == "__main__":
    app()
