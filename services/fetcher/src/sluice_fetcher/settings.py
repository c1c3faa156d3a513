"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from sluice_fhir.source_settings import SourceSettings
from sluice_security.http_limits import MIB
from sluice_streaming.settings import GivingWaySettings, StreamSettings


class Settings(StreamSettings, GivingWaySettings, SourceSettings):
    """Beside what every streaming service, each that gives way and each that reads from sources is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_fetcher`.
    document_limit, documents_in_flight
        The largest DocumentReference, and all large ones in flight together, in bytes.
    keep_days
        How long bodies and metadata of finished jobs are kept.
    sweep_interval
        Seconds between two rounds of the janitor.
    """

    postgres: str = Field(min_length=1)
    document_limit: int = Field(default=16 * MIB, ge=1024)
    documents_in_flight: int = Field(default=64 * MIB, ge=1024)
    keep_days: float = Field(default=7.0, ge=0)
    sweep_interval: float = Field(default=300.0, gt=0)

    @property
    def keep(self) -> timedelta:
        """How long bodies and metadata of finished jobs are kept."""
        return timedelta(days=self.keep_days)
