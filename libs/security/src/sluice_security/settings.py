"""Settings that several services have: the secret to seal with, the certificate to serve with."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, SecretStr, field_validator, model_validator

from sluice_security.guard import read_networks
from sluice_security.sealing import read_secrets
from sluice_security.serving import tls_context
from sluice_settings import Settings


def _readable_networks(value: str) -> str:
    read_networks(value)
    return value


NetworkNames = Annotated[str, AfterValidator(_readable_networks)]
"""Networks as `read_networks` reads them."""


class SecretSettings(Settings):
    """What a service is told that shares the deployment's secret (prefix `SLUICE_`).

    Parameters
    ----------
    secret
        Hex or base64 of at least 32 bytes, the same for all services. Several, separated by white space: the
        first is used, and what was made with the others stays good.
    """

    secret: SecretStr

    @field_validator("secret")
    @classmethod
    def _readable(cls, value: SecretStr) -> SecretStr:
        read_secrets(value.get_secret_value())
        return value

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets, decoded, newest first."""
        return read_secrets(self.secret.get_secret_value())


class TlsSettings(Settings):
    """What a service is told that serves HTTP (prefix `SLUICE_`).

    Parameters
    ----------
    tls_cert, tls_key
        Files with its certificate and private key, in PEM: it serves TLS 1.2 or newer itself. Without them
        it serves plain HTTP, for a proxy where TLS ends.
    """

    tls_cert: Path | None = None
    tls_key: Path | None = None

    @model_validator(mode="after")
    def _usable_together(self) -> Self:
        self.tls()
        return self

    def tls(self) -> ssl.SSLContext | None:
        """Give what to serve TLS with; None for plain HTTP."""
        if self.tls_cert is None and self.tls_key is None:
            return None
        if self.tls_cert is None or self.tls_key is None:
            raise ValueError("SLUICE_TLS_CERT and SLUICE_TLS_KEY belong together")
        return tls_context(self.tls_cert, self.tls_key)
