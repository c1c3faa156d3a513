"""Who the command line speaks for: addresses and credentials, in a file that only its owner can read.

The file is `config.json` in the platform's configuration folder, or the one that `SLUICE_CONFIG` names. It
holds profiles, so that a portal and an operator can be used side by side. `SLUICE_URL`, `SLUICE_AUTH_URL`,
`SLUICE_CLIENT_ID`, `SLUICE_CLIENT_SECRET` or `SLUICE_CLIENT_KEY` (a file), and `SLUICE_CA` win over it, for
scripts that keep secrets elsewhere. A private key stays in its file; the configuration says where that is.
With `SLUICE_TOKEN`, an access token such as the page of the gateway gives, it is used instead of all that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import platformdirs
from msgspec import Struct, field

from sluice_client.assertions import ClientKey
from sluice_client.client import SluiceClient
from sluice_client.errors import SluiceError
from sluice_client.models import Credentials
from sluice_client.oauth import AccessToken, AnyCredentials, KeyCredentials
from sluice_contracts.wire import UNREADABLE

DEFAULT = "default"


class ConfigError(SluiceError):
    """There is no usable configuration."""


def not_logged_in(name: str) -> ConfigError:
    """Give the error of a profile that there is not."""
    hint = "" if name == DEFAULT else f" --profile {name}"
    return ConfigError("You are not logged in.", f"Run: sluice{hint} login URL")


class Profile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service and one client of it, which has a secret or a key.

    `client_key` is the path of the private key's file, `jku` the address of its public half if the service
    knows it by that, `ca` the path of a file with further certificates to trust. `token` is an access token
    that is used instead of either.
    """

    url: str
    client_id: str
    client_secret: str = ""
    client_key: str | None = None
    jku: str | None = None
    ca: str | None = None
    auth_url: str | None = None
    registration_token: str | None = None
    registration_uri: str | None = None
    token: str | None = None

    def credentials(self) -> AnyCredentials:
        """Give what the client proves itself with.

        Raises
        ------
        KeyFileError
            Its key cannot be read.
        """
        if self.token is not None:
            return AccessToken(self.token)
        if self.client_key is not None:
            return KeyCredentials(self.client_id, ClientKey.read(Path(self.client_key), jku=self.jku))
        return Credentials(client_id=self.client_id, client_secret=self.client_secret)

    def client(self, ca: Path | None = None) -> SluiceClient:
        """Make a client that speaks for this profile; it is not open. `ca` is used instead of its own."""
        return SluiceClient(
            self.url,
            auth_url=self.auth_url,
            credentials=self.credentials(),
            ca=ca or (Path(self.ca) if self.ca else None),
        )


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
        url, token = (self._environment.get(f"SLUICE_{name}") for name in ("URL", "TOKEN"))
        if url and token:
            return Profile(url=url, client_id="", token=token, ca=self._environment.get("SLUICE_CA") or None)
        kept = self._read().profiles.get(name)
        said = {
            key: self._environment[f"SLUICE_{key.upper()}"]
            for key in ("url", "auth_url", "client_id", "client_secret", "client_key", "ca")
            if self._environment.get(f"SLUICE_{key.upper()}")
        }
        secret = {"client_secret", "client_key"} & said.keys()
        if kept is not None:
            # One way of proving who one is takes the place of the other.
            other = {"client_key": None, "jku": None} if secret == {"client_secret"} else {}
            return msgspec.structs.replace(kept, **other, **said)
        if {"url", "client_id"} <= said.keys() and secret:
            return Profile(**said)
        raise not_logged_in(name)

    def kept(self, name: str = DEFAULT) -> Profile | None:
        """Give a profile as the file has it, None if it has none; raises as `profile` does."""
        return self._read().profiles.get(name)

    def save(self, profile: Profile, name: str = DEFAULT) -> None:
        """Keep a profile; the file is readable to its owner alone from its first byte on.

        Raises
        ------
        ConfigError
            It cannot be written.
        """
        config = self._read()
        config.profiles[name] = profile
        self._write(config)

    def forget(self, name: str = DEFAULT) -> None:
        """Keep a profile no longer; raises as `save` does."""
        config = self._read()
        config.profiles.pop(name, None)
        self._write(config)

    def _write(self, config: _File) -> None:
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
        except (OSError, *UNREADABLE):
            raise ConfigError(
                f"{self.path} cannot be read.", "Mend it, or remove it and log in again."
            ) from None
