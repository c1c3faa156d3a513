"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from sluice_security.guard import Network, read_networks
from sluice_security.settings import NetworkNames, SecretSettings
from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings, SecretSettings):
    """Beside what every streaming service is told, and the secret that endpoints' secrets are sealed with.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_webhooks`.
    loopback_sources
        Let endpoints be http and on this machine (development).
    webhook_networks
        Networks that are not public and that endpoints may be in all the same: `10.20.0.0/16`, several
        separated by spaces. Whoever signs up a client can then have requests sent there.
    webhook_hours
        How long a delivery is tried before it fails, and its endpoint is disabled if it took nothing since.
    webhook_timeout
        Seconds that an endpoint has to answer.
    webhook_keep_days
        How long ended deliveries can be looked at and made again.
    """

    postgres: str = Field(min_length=1)
    loopback_sources: bool = False
    webhook_networks: NetworkNames = ""
    webhook_hours: float = Field(default=24.0, gt=0)
    webhook_timeout: float = Field(default=15.0, gt=0, le=60)
    webhook_keep_days: float = Field(default=30.0, gt=0)

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks that endpoints may be in although they are not public."""
        return read_networks(self.webhook_networks)

    @property
    def patience(self) -> timedelta:
        """How long a delivery is tried."""
        return timedelta(hours=self.webhook_hours)

    @property
    def keep(self) -> timedelta:
        """How long ended deliveries are kept."""
        return timedelta(days=self.webhook_keep_days)
