"""`sluice keys`: key pairs for clients that prove themselves with a key."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from sluice_client.cli.session import session_of
from sluice_client.errors import KeyFileError

keys = typer.Typer(help="Key pairs to register and export with.", no_args_is_help=True)


class Algorithm(StrEnum):
    """The two algorithms that servers must support (SMART App Launch 2.2, "Backend Services")."""

    ES384 = "ES384"
    RS384 = "RS384"


@keys.command("new")
def new(
    context: typer.Context,
    alg: Annotated[Algorithm, typer.Option(case_sensitive=False, help="ES384 or RS384")] = Algorithm.ES384,
    to: Annotated[
        Path | None, typer.Option(help="the private key's file; else one in the configuration's folder")
    ] = None,
) -> None:
    """Make a key pair: the private key goes to a file that only you can read, the public JWKS is printed."""
    session = session_of(context)

    async def work() -> tuple[Path, dict[str, Any]]:
        # Only this command waits for the cryptography to be loaded.
        from sluice_security.keys import make_key_pair

        pair = make_key_pair(alg.value)
        path = to or session.config.path.parent / f"key-{pair.kid[:12]}.jwks"
        # Other clients look for their key in a set, and by what it may do rather than by its use.
        private = {name: value for name, value in pair.private.items() if name != "use"}
        own = {"keys": [{**private, "key_ops": ["sign"]}]}
        _write(path, msgspec.json.format(msgspec.json.encode(own), indent=2))
        return path, pair.public

    path, public = session.run(work)
    session.err.print(f"private key: {path}", soft_wrap=True, markup=False)
    session.out.file.write(msgspec.json.format(msgspec.json.encode(public), indent=2).decode() + "\n")


def _write(path: Path, text: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A key that is in use must not be lost to a second call.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already.", "Choose another file.") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.", "Choose another file.") from None
    with os.fdopen(descriptor, "wb") as out:
        out.write(text)
