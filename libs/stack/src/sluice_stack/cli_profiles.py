"""Logins for the `sluice` command line, kept with the stack: the operator's, and those of the demo."""

from __future__ import annotations

from pathlib import Path

from sluice_client import Credentials, Registration
from sluice_client.cli.config import DEFAULT, Config, ConfigError, Profile
from sluice_stack.home import Addresses, Home

OPERATOR = "operator"
EXPORTER = "exporter"


class Profiles:
    """The profiles of one stack; `SLUICE_CONFIG` set to `path` makes the command line use them.

    Parameters
    ----------
    home
        The stack's folder.
    addresses
        Where the stack is.
    operator
        Its operator, if it is not the stack that `home` is of.
    """

    def __init__(self, home: Home, addresses: Addresses, operator: Credentials | None = None) -> None:
        self.path: Path = home.folder / "cli.json"
        self._addresses = addresses
        self._operator = operator or _operator_of(home)
        # Nothing of this process's own environment: it may speak for someone else.
        self._config = Config({"SLUICE_CONFIG": str(self.path)})
        self._keep(self._operator, OPERATOR)

    def operator(self) -> Credentials:
        """Give the operator's credentials."""
        return self._operator

    def portal(self) -> Credentials | None:
        """Give the demo portal's credentials, None if it has not signed up."""
        try:
            kept = self._config.profile(DEFAULT)
        except ConfigError:
            return None
        return Credentials(client_id=kept.client_id, client_secret=kept.client_secret)

    def keep_portal(self, credentials: Credentials) -> None:
        """Keep the demo portal's credentials."""
        self._keep(credentials, DEFAULT)

    def exporter(self) -> Profile | None:
        """Give the profile of the demo's client that exports, None if it has not been registered."""
        try:
            kept = self._config.profile(EXPORTER)
        except ConfigError:
            return None
        return kept if kept.client_key is not None and Path(kept.client_key).exists() else None

    def keep_exporter(self, made: Registration, key: Path) -> Profile:
        """Keep the demo's client that exports, which proves itself with a key, and give its profile."""
        profile = Profile(
            url=self._addresses.gateway,
            auth_url=self._addresses.auth,
            client_id=made.client_id,
            client_key=str(key),
            registration_token=made.registration_token,
            registration_uri=made.registration_uri,
        )
        self._config.save(profile, EXPORTER)
        return profile

    def _keep(self, credentials: Credentials, name: str) -> None:
        profile = Profile(
            url=self._addresses.gateway,
            auth_url=self._addresses.auth,
            client_id=credentials.client_id,
            client_secret=credentials.client_secret,
            registration_token=credentials.registration_token,
            registration_uri=credentials.registration_uri,
        )
        self._config.save(profile, name)


def _operator_of(home: Home) -> Credentials:
    secrets = home.secrets()
    return Credentials(client_id=secrets.operator_id, client_secret=secrets.operator_secret)
