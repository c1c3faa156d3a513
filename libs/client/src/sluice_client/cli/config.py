"""Who the command line speaks for: addresses and credentials, in a file that only its owner can read.

The file is `config.json` in the platform's configuration folder, or the one that `SLUICE_CONFIG` names. It
holds profiles, so that a portal and an operator can be used side by side. `SLUICE_URL`, `SLUICE_AUTH_URL`,
`SLUICE_CLIENT_ID` and `SLUICE_CLIENT_SECRET` win over it, for scripts that keep secrets elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs
from msgspec import Struct, field

from sluice_client.client import SluiceClient
from sluice_client.errors import SluiceError
from sluice_client.models import Credentials

DEFAULT = "default"


class ConfigError(SluiceError):
    """There is no usable configuration."""


class Profile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service and one client of it."""

    url: str
    client_id: str
    client_secret: str
    auth_url: str | None = None
    registration_token: str | None = None
    registration_uri: str | None = None

    def client(self) -> SluiceClient:
        """Make a client that speaks for this profile; it is not open."""
        credentials = Credentials(client_id=self.client_id, client_secret=self.client_secret)
        return SluiceClient(self.url, auth_url=self.auth_url, credentials=credentials)


class _File(Struct, kw_only=True):
    profiles: dict[str, Profile] = field(default_factory=dict)


class Config:
    """The configuration file.

    Parameters
    ----------
    environment
        The process's environment.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment
        named = environment.get("SLUICE_CONFIG")
        folder = platformdirs.user_config_path("sluice", appauthor=False)
        self.path = Path(named) if named else folder / "config.json"

    def profile(self, name: str = DEFAULT) -> Profile:
        """Give a profile, with what the environment says instead.

        Raises
        ------
        ConfigError
            There is no such profile, or the file cannot be read.
        """
        kept = self._read().profiles.get(name)
        said = {
            key: self._environment[f"SLUICE_{key.upper()}"]
            for key in ("url", "auth_url", "client_id", "client_secret")
            if self._environment.get(f"SLUICE_{key.upper()}")
        }
        if kept is not None:
            return msgspec.structs.replace(kept, **said)
        if {"url", "client_id", "client_secret"} <= said.keys():
            return Profile(**said)
        hint = "" if name == DEFAULT else f" --profile {name}"
        raise ConfigError("You are not logged in.", f"Run: sluice{hint} login URL")

    def save(self, profile: Profile, name: str = DEFAULT) -> None:
        """Keep a profile; the file is readable to its owner alone from its first byte on.

        Raises
        ------
        ConfigError
            It cannot be written.
        """
        config = self._read()
        config.profiles[name] = profile
        text = msgspec.json.format(msgspec.json.encode(config), indent=2)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(text)
            fresh.replace(self.path)
        except OSError as error:
            text_of = f"{self.path} cannot be written: {error.strerror}."
            raise ConfigError(text_of, "Set SLUICE_CONFIG to another place.") from error

    def _read(self) -> _File:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_File)
        except FileNotFoundError:
            return _File()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            raise ConfigError(
                f"{self.path} cannot be read.", "Mend it, or remove it and log in again."
            ) from None
