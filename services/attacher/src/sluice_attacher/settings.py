"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from sluice_security.http_limits import MIB, HttpLimits
from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings):
    """Beside what every streaming service is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_attacher`.
    objects
        URL of the object store.
    secret
        The deployment's secret, hex or base64, at least 32 bytes.
    loopback_sources
        Let registered sources be http and on this machine (development).
    attachment_limit
        The largest attachment, in bytes.
    large_transfers
        How many attachments that do not fit in memory are under way at once in this process.
    large_document
        DocumentReferences above this many bytes are read one at a time.
    transfer_seconds
        How long one attachment may take.
    sweep_seconds
        Time between two rounds of the janitor.
    source_connect, source_answer, source_idle, source_rate, source_rate_window, source_ratio
        See `sluice_security.http_limits.HttpLimits`.
    """

    model_config = SettingsConfigDict(env_prefix="SLUICE_")

    postgres: str = Field(min_length=1)
    objects: str = Field(min_length=1)
    secret: str = Field(min_length=1)
    loopback_sources: bool = False
    attachment_limit: int = Field(default=10_000_000_000, ge=1)
    large_transfers: int = Field(default=2, ge=1)
    large_document: int = Field(default=MIB // 4, ge=1024)
    transfer_seconds: float = Field(default=6 * 3600.0, gt=0)
    sweep_seconds: float = Field(default=60.0, gt=0)
    source_connect: float = Field(default=10.0, gt=0)
    source_answer: float = Field(default=60.0, gt=0)
    source_idle: float = Field(default=60.0, gt=0)
    source_rate: float = Field(default=1000.0, ge=0)
    source_rate_window: float = Field(default=60.0, gt=0)
    source_ratio: float = Field(default=100.0, ge=1)

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
