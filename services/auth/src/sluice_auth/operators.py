"""`python -m sluice_auth.operators`: what operators do to the authorization server itself.

Reads SLUICE_POSTGRES and, for keys, SLUICE_SECRET, or the files that these with `_FILE` name, as the service
does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar
from uuid import uuid4

import typer
from pydantic import ValidationError

from sluice_auth.client_secrets import draw
from sluice_auth.keyring import Rotation
from sluice_auth.operator_clients import put_operator, remove_client
from sluice_auth.passwords import Passwords
from sluice_auth.postgres import PostgresStore
from sluice_auth.settings import KeySettings
from sluice_auth.user_accounts import AccountError, Accounts
from sluice_auth.wiring import make_keyring
from sluice_settings import explain
from sluice_storage.pool import open_pool
from sluice_storage.postgres_option import postgres_option

app = typer.Typer(help="Manage operators' clients, users and signing keys.", no_args_is_help=True)
T = TypeVar("T")

Address = Annotated[str, postgres_option("role sluice_auth")]
_NAME = typer.Argument(help="what the user types to sign in")
_GIVEN = typer.Option(
    False, "--password-stdin", help="read the password from standard input; otherwise one is drawn and shown"
)
# The longest that any access token lives.
_LIFETIME = 300.0


def _run(dsn: str, act: Callable[[PostgresStore], Awaitable[T]]) -> T:
    async def main() -> T:
        async with await open_pool(dsn, size=1, wait=5.0, application="sluice auth operators") as pool:
            return await act(PostgresStore(pool))

    return asyncio.run(main())


@app.command()
def add(name: str = typer.Argument(help="what to call it"), dsn: Address = "") -> None:
    """Make an operator's client and show its id and secret, this once."""
    client_id, secret = f"ops-{uuid4().hex[:16]}", draw()
    _run(dsn, lambda store: put_operator(store, client_id, secret, name=name, now=time.time()))
    typer.echo(f"client_id {client_id}\nclient_secret {secret}")


@app.command()
def remove(client_id: str = typer.Argument(help="the client's id"), dsn: Address = "") -> None:
    """Remove a client, whoever's it is; its tokens are refused within seconds."""
    if not _run(dsn, lambda store: remove_client(store, client_id, now=time.time(), lifetime=_LIFETIME)):
        typer.echo("there is no such client", err=True)
        raise typer.Exit(1)
    typer.echo("removed")


def _on_accounts(dsn: str, act: Callable[[Accounts], Awaitable[T]]) -> T:
    try:
        return _run(dsn, lambda store: act(Accounts(store, Passwords())))
    except AccountError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _password(given: bool) -> tuple[str, str]:
    """Give a password, and the line to show of it: nothing if whoever calls has it already."""
    # Never as an argument: those are for all users of the machine to see.
    if given:
        return typer.get_text_stream("stdin").readline().rstrip("\n"), ""
    password = draw()[:24]
    return password, f"\npassword {password}"


@app.command()
def add_user(
    name: str = _NAME,
    given: bool = _GIVEN,
    operator: bool = typer.Option(False, "--operator", help="who may do what operators may"),
    dsn: Address = "",
) -> None:
    """Make an account for a person, and show the id that tokens and grants know it by."""
    password, line = _password(given)
    user = _on_accounts(
        dsn, lambda accounts: accounts.add(name, password, now=time.time(), operator=operator)
    )
    typer.echo(f"user_id {user.id}{line}")


@app.command()
def set_password(name: str = _NAME, given: bool = _GIVEN, dsn: Address = "") -> None:
    """Replace a person's password; whoever is signed in with the old one is signed out."""
    password, line = _password(given)
    _on_accounts(dsn, lambda accounts: accounts.change_password(name, password, now=time.time()))
    typer.echo(f"changed{line}")


@app.command()
def set_operator(
    name: str = _NAME,
    off: bool = typer.Option(False, "--off", help="not an operator any more"),
    dsn: Address = "",
) -> None:
    """Make a person an operator, or not any more; either shows with their next token."""
    _on_accounts(dsn, lambda accounts: accounts.change_operator(name, operator=not off, now=time.time()))
    typer.echo("changed")


@app.command()
def remove_user(name: str = _NAME, dsn: Address = "") -> None:
    """Remove a person's account; all that applications were given for it is refused within seconds."""
    _on_accounts(dsn, lambda accounts: accounts.remove(name, now=time.time()))
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
    try:
        settings = KeySettings()
    except ValidationError as error:
        raise typer.BadParameter(explain(error)) from None
    rotation = Rotation.AT_ONCE if at_once else Rotation.NEXT

    async def act(store: PostgresStore) -> None:
        await make_keyring(settings, store, now=time.time).refresh(rotation)

    _run(settings.postgres, act)
    typer.echo("rotated")


if __name__ == "__main__":
    app()
