"""The option by which operators' commands are told where Postgres is."""

from __future__ import annotations

from typing import Any

import typer

from sluice_settings import UnreadableSettingError, from_file

_VARIABLE = "SLUICE_POSTGRES"


def postgres_option(whose: str, name: str = "--postgres") -> Any:
    """Make the option: an address, by `SLUICE_POSTGRES`, or in the file that `SLUICE_POSTGRES_FILE` names.

    The parameter is a `str` whose default is empty; the command is only run with an address.

    Parameters
    ----------
    whose
        The role it is an address of.
    name
        The option's.
    """
    return typer.Option(
        name,
        envvar=_VARIABLE,
        help=f"postgresql:// URL of {whose}; or {_VARIABLE}_FILE",
        callback=_said_or_in_the_file,
    )


def _said_or_in_the_file(said: str) -> str:
    try:
        address = said or from_file(_VARIABLE)
    except UnreadableSettingError as error:
        raise typer.BadParameter(str(error)) from None
    if not address:
        raise typer.BadParameter(f"{_VARIABLE} is not set")
    return address
