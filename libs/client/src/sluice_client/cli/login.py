"""`sluice login`, `logout` and `register`: who the command line speaks for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from sluice_client.assertions import ClientKey
from sluice_client.cli.config import Profile, not_logged_in
from sluice_client.cli.session import Session, session_of
from sluice_client.client import SluiceClient
from sluice_client.errors import AuthenticationError, KeyFileError
from sluice_client.models import Credentials, RateLimit, Registration, User
from sluice_client.oauth import EXPORT_SCOPES, IMPORT_SCOPES
from sluice_contracts.wire import UNREADABLE
from sluice_contracts.words import counted

Url = Annotated[str, typer.Argument(help="the service's address", envvar="SLUICE_URL")]
AuthUrl = Annotated[
    str | None, typer.Option(envvar="SLUICE_AUTH_URL", help="the authorization server's, if another")
]
InitialToken = Annotated[
    str | None, typer.Option(envvar="SLUICE_INITIAL_TOKEN", help="from operators if sign-up is closed")
]
Name = Annotated[str, typer.Option(help="what to be called when signing up")]


def login(
    context: typer.Context,
    url: Url,
    auth_url: AuthUrl = None,
    client_id: Annotated[
        str | None, typer.Option(envvar="SLUICE_CLIENT_ID", help="yours, if you have signed up before")
    ] = None,
    client_secret: Annotated[
        str | None,
        typer.Option(envvar="SLUICE_CLIENT_SECRET", help="asked for if not given; better not on the line"),
    ] = None,
    client_key: Annotated[
        Path | None, typer.Option("--key", envvar="SLUICE_CLIENT_KEY", help="your private key's file instead")
    ] = None,
    name: Name = "sluice command line",
    initial_token: InitialToken = None,
) -> None:
    """Sign up, or use the client id you have; keeps the credentials for the other commands.

    Whoever is logged in there already stays who they are; log out first to become someone else.
    """
    session = session_of(context)
    if client_key is not None and not client_id:
        raise typer.BadParameter("--key needs the --client-id it is registered for; see sluice register")
    if client_id and not client_secret and client_key is None:
        client_secret = typer.prompt("client secret", hide_input=True, err=True)

    async def work() -> Profile:
        profile = Profile(
            url=url.rstrip("/"),
            auth_url=auth_url,
            client_id=client_id or "",
            client_secret=(client_secret or "") if client_key is None else "",
            client_key=None if client_key is None else str(client_key.absolute()),
            ca=None if session.ca is None else str(session.ca.absolute()),
        )
        if client_id:
            async with profile.client() as client:
                await client.token()
        else:
            profile = await _as_before(session, profile) or _with(
                profile, await _sign_up(session, url, auth_url, name, initial_token)
            )
        session.config.save(profile, session.profile)
        return profile

    found = session.run(work)
    kept = {"client_id": found.client_id, "config": str(session.config.path), "profile": session.profile}
    session.show(kept, lambda: f"Logged in as {found.client_id}; kept in {session.config.path}")


async def _as_before(session: Session, asked: Profile) -> Profile | None:
    """Give the login that is kept for this service, if it still is one.

    Signing up again would lose its secret, and with it all that its client has.
    """
    kept = session.config.kept(session.profile)
    if kept is None or kept.url != asked.url:
        return None
    found = msgspec.structs.replace(kept, auth_url=asked.auth_url or kept.auth_url, ca=asked.ca or kept.ca)
    try:
        async with found.client() as client:
            await client.token()
    except AuthenticationError:
        return None
    return found


async def _sign_up(
    session: Session, url: str, auth_url: str | None, name: str, initial_token: str | None
) -> Credentials:
    # A server that allows fewer scopes leaves out the others.
    scopes = (*IMPORT_SCOPES, *EXPORT_SCOPES)
    async with SluiceClient(url, auth_url=auth_url, ca=session.ca) as client:
        return await client.sign_up(name, scopes=scopes, initial_token=initial_token)


def _with(profile: Profile, made: Credentials | Registration) -> Profile:
    return msgspec.structs.replace(
        profile,
        client_id=made.client_id,
        client_secret=made.client_secret if isinstance(made, Credentials) else "",
        registration_token=made.registration_token,
        registration_uri=made.registration_uri,
    )


def logout(
    context: typer.Context,
    remove: Annotated[
        bool, typer.Option("--remove-client", help="have the service forget the client too")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Forget the login that is kept here.

    Access tokens are not kept: they are good for minutes. With --remove-client the service removes the client
    that signed up here, and its tokens are void at once.
    """
    session = session_of(context)

    async def look() -> Profile:
        found = session.config.kept(session.profile)
        if found is None:
            raise not_logged_in(session.profile)
        return found

    kept = session.run(look)
    if not yes and (remove or (kept.client_secret and kept.registration_token)):
        lost = f"The secret of {kept.client_id} at {kept.url} is kept nowhere else. Forget it?"
        gone = f"Have {kept.url} remove {kept.client_id}? What it owns is then only there for others."
        typer.confirm(gone if remove else lost, abort=True, err=True)

    async def work() -> None:
        if remove:
            async with kept.client(session.ca) as client:
                await client.remove_client(
                    Registration(
                        client_id=kept.client_id,
                        registration_token=kept.registration_token,
                        registration_uri=kept.registration_uri,
                    )
                )
        session.config.forget(session.profile)

    session.run(work)
    told = {"client_id": kept.client_id, "removed": remove, "profile": session.profile}
    gone = f"Logged out; the service has removed {kept.client_id}, and its tokens are void"
    session.show(told, lambda: gone if remove else f"Logged out; {kept.client_id} is forgotten here")


def whoami(context: typer.Context) -> None:
    """Say who the service takes you for, and how many more bulk requests you may make."""
    session = session_of(context)

    async def work(client: SluiceClient) -> tuple[User, RateLimit]:
        return await client.user(), await client.rate_limit()

    user, rate = session.call(work)
    url = session.config.profile(session.profile).url
    left = f"{rate.remaining} of {counted(rate.limit, 'bulk request')} left"
    told = {"username": user.username, "url": url, "rate": rate}
    session.show(told, lambda: f"{user.username} at {url}; {left}")


def register(
    context: typer.Context,
    url: Url,
    jwks: Annotated[Path | None, typer.Option(help="a file with the public JWK Set")] = None,
    jwks_url: Annotated[str | None, typer.Option(help="where the public JWK Set is published")] = None,
    client_key: Annotated[
        Path | None,
        typer.Option("--key", help="the private key's file: log in with it (it is not sent)"),
    ] = None,
    scope: Annotated[list[str] | None, typer.Option(help="what it may do; may be repeated")] = None,
    auth_url: AuthUrl = None,
    name: Name = "sluice command line",
    initial_token: InitialToken = None,
) -> None:
    """Register a client that proves itself with a key (SMART Backend Services); prints its id."""
    session = session_of(context)
    if sum(each is not None for each in (jwks, jwks_url)) != 1 and (client_key is None or jwks_url or jwks):
        raise typer.BadParameter("give --jwks, --jwks-url, or --key alone")

    async def work() -> Registration:
        key = ClientKey.read(client_key, jku=jwks_url) if client_key is not None else None
        public = _public(jwks) if jwks is not None else None
        if public is None and jwks_url is None and key is not None:
            public = key.public()
        async with SluiceClient(url, auth_url=auth_url, ca=session.ca) as client:
            made = await client.register_key(
                name,
                jwks=public,
                jwks_uri=jwks_url,
                scopes=scope or EXPORT_SCOPES,
                initial_token=initial_token,
            )
        if client_key is not None:
            profile = Profile(
                url=url.rstrip("/"),
                auth_url=auth_url,
                client_id=made.client_id,
                client_key=str(client_key.absolute()),
                jku=jwks_url,
                ca=None if session.ca is None else str(session.ca.absolute()),
            )
            session.config.save(_with(profile, made), session.profile)
        return made

    made = session.run(work)
    if client_key is not None:
        session.err.print(f"logged in with its key; kept in {session.config.path}", soft_wrap=True)
    session.show(made, lambda: made.client_id)


def _public(path: Path) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from None
    except UNREADABLE:
        raise KeyFileError(f"{path} is no JWK Set.") from None
    keys = found.get("keys", [found])
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise KeyFileError(f"{path} is no JWK Set.")
    if any("d" in key or "k" in key for key in keys):
        raise KeyFileError(f"{path} holds a private key, which must not be sent.", "Give it as --key.")
    return {"keys": keys}
