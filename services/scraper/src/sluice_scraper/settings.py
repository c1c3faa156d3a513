"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sluice_fhir.source_settings import SourceSettings
from sluice_security.http_limits import MIB
from sluice_streaming.settings import GivingWaySettings, StreamSettings


class Settings(StreamSettings, GivingWaySettings, SourceSettings):
    """Beside what every streaming service, each that gives way and each that reads from sources is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_scraper`.
    scrape_schemas
        The folder of scrape schemas; None: the one that lies beside the code.
    resource_limit
        The largest resource or search result that is read, in bytes.
    shared_bytes, shared_seconds
        How much, and for how long, is kept of what a job's documents refer to in common.
    large_document
        Documents above this many bytes are taken from the database one at a time.
    """

    postgres: str = Field(min_length=1)
    scrape_schemas: Path | None = None
    resource_limit: int = Field(default=4 * MIB, ge=1024)
    shared_bytes: int = Field(default=32 * MIB, ge=0)
    shared_seconds: float = Field(default=300.0, ge=0)
    large_document: int = Field(default=MIB // 4, ge=1024)
