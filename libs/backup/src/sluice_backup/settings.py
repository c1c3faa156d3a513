"""Where the deployment is that is backed up or restored, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pydantic import Field, SecretStr

from sluice_security.sealing import fingerprint, read_secrets
from sluice_settings import Settings as Base


class Settings(Base):
    """What the commands are told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of an administrator of the database.
    kafka
        `host:port`, several separated by commas.
    objects
        The object store, as services are told it.
    secret
        The services' secret. It is in no backup: what is kept is a fingerprint, by which a restore knows
        that things will open.
    kafka_replication
        Copies of each partition, for topics that a restore makes.
    """

    postgres: str = Field(min_length=1)
    kafka: str = Field(default="127.0.0.1:9092", min_length=1)
    objects: str = Field(min_length=1)
    secret: SecretStr | None = None
    kafka_replication: int = Field(default=1, ge=1)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Fingerprints of the secrets; none if they are not known."""
        if self.secret is None:
            return ()
        return tuple([fingerprint(each) for each in read_secrets(self.secret.get_secret_value())])
