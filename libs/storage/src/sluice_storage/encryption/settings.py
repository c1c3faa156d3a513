"""The settings of services that write or read contents."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from sluice_settings import Settings
from sluice_storage.encryption.keys import MasterKeys


class MasterKeySettings(Settings):
    """What a service is told that encrypts or decrypts what is in the object store (prefix `SLUICE_`).

    Parameters
    ----------
    master_keys
        Hex or base64 of at least 32 bytes each, in lines or separated by spaces, the same for all services.
        The first one wraps data keys, all of them unwrap.
    """

    master_keys: SecretStr

    @field_validator("master_keys")
    @classmethod
    def _readable_keys(cls, value: SecretStr) -> SecretStr:
        MasterKeys.read(value.get_secret_value())
        return value

    @property
    def keys(self) -> MasterKeys:
        """The master keys."""
        return MasterKeys.read(self.master_keys.get_secret_value())
