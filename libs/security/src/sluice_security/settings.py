"""The setting that every service which seals or opens something has."""

from __future__ import annotations

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sluice_security.sealing import read_secret


class SecretSettings(BaseSettings):
    """What a service is told that shares the deployment's secret (prefix `SLUICE_`).

    Parameters
    ----------
    secret
        Hex or base64 of at least 32 bytes, the same for all services.
    """

    model_config = SettingsConfigDict(env_prefix="SLUICE_")

    secret: SecretStr

    @field_validator("secret")
    @classmethod
    def _readable(cls, value: SecretStr) -> SecretStr:
        read_secret(value.get_secret_value())
        return value

    @property
    def secret_bytes(self) -> bytes:
        """The secret, decoded."""
        return read_secret(self.secret.get_secret_value())
