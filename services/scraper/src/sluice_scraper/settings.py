"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from sluice_security.http_limits import MIB, HttpLimits
from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings):
    """Beside what every streaming service is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_scraper`.
    secret
        The deployment's secret, hex or base64, at least 32 bytes.
    loopback_sources
        Let registered sources be http and on this machine (development).
    scrape_schemas
        The folder of scrape schemas; None: the one that lies beside the code.
    resource_limit
        The largest resource or search result that is read, in bytes.
    shared_bytes, shared_seconds
        How much, and for how long, is kept of what a job's documents refer to in common.
    large_document
        Documents above this many bytes are taken from the database one at a time.
    source_connect, source_answer, source_idle
        Seconds to a connection, to an answer's headers, and of silence within a body.
    """

    model_config = SettingsConfigDict(env_prefix="SLUICE_")

    postgres: str = Field(min_length=1)
    secret: str = Field(min_length=1)
    loopback_sources: bool = False
    scrape_schemas: Path | None = None
    resource_limit: int = Field(default=4 * MIB, ge=1024)
    shared_bytes: int = Field(default=32 * MIB, ge=0)
    shared_seconds: float = Field(default=300.0, ge=0)
    large_document: int = Field(default=MIB // 4, ge=1024)
    source_connect: float = Field(default=10.0, gt=0)
    source_answer: float = Field(default=60.0, gt=0)
    source_idle: float = Field(default=60.0, gt=0)

    @property
    def http_limits(self) -> HttpLimits:
        """The limits of outgoing HTTP."""
        return HttpLimits(connect=self.source_connect, answer=self.source_answer, read_idle=self.source_idle)
