"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from sluice_security.http_limits import MIB, HttpLimits
from sluice_security.sealing import read_secret
from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings):
    """Beside what every streaming service is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_fetcher`.
    secret
        The deployment's secret, hex or base64, at least 32 bytes.
    loopback_sources
        Let registered sources be http and on this machine (development).
    document_limit, documents_in_flight
        The largest DocumentReference, and all large ones in flight together, in bytes.
    keep_days
        How long bodies and metadata of finished jobs are kept.
    sweep_interval
        Seconds between two rounds of the janitor.
    source_connect, source_answer, source_idle
        Seconds to a connection, to an answer's headers, and of silence within a body.
    source_rate, source_rate_window
        The slowest a body may come: bytes per second over so many seconds.
    source_ratio
        How much a body may grow when decompressed.
    """

    model_config = SettingsConfigDict(env_prefix="SLUICE_")

    postgres: str = Field(min_length=1)
    secret: str = Field(min_length=1)
    loopback_sources: bool = False
    document_limit: int = Field(default=16 * MIB, ge=1024)
    documents_in_flight: int = Field(default=64 * MIB, ge=1024)
    keep_days: float = Field(default=7.0, ge=0)
    sweep_interval: float = Field(default=300.0, gt=0)
    source_connect: float = Field(default=10.0, gt=0)
    source_answer: float = Field(default=60.0, gt=0)
    source_idle: float = Field(default=60.0, gt=0)
    source_rate: float = Field(default=1000.0, ge=0)
    source_rate_window: float = Field(default=60.0, gt=0)
    source_ratio: float = Field(default=100.0, ge=1)

    @field_validator("secret")
    @classmethod
    def _readable(cls, text: str) -> str:
        read_secret(text)
        return text

    @property
    def keep(self) -> timedelta:
        """How long bodies and metadata of finished jobs are kept."""
        return timedelta(days=self.keep_days)

    @property
    def http_limits(self) -> HttpLimits:
        """The limits of outgoing HTTP."""
        return HttpLimits(
            connect=self.source_connect,
            answer=self.source_answer,
            read_idle=self.source_idle,
            rate=self.source_rate,
            rate_window=self.source_rate_window,
            ratio=self.source_ratio,
        )
