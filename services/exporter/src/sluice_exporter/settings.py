"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from sluice_exporter.sink import FileLimits
from sluice_storage.encryption.settings import MasterKeySettings
from sluice_streaming.settings import GivingWaySettings, StreamSettings

_MIB = 1024 * 1024


class Settings(StreamSettings, GivingWaySettings, MasterKeySettings):
    """Beside what every streaming service and each that gives way is told, and the master keys.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_exporter`.
    objects
        URL of the object store.
    public_url
        The gateway's address as clients see it; our FHIR API is below it.
    export_parts
        How many parts this process reads and writes at once, each by a thread of its own; more than there are
        processors to spare only wait for each other (ADR 53). Two more are begun or sealed meanwhile.
    export_part_bytes
        About how many bytes of resources a part has.
    export_file_resources, export_file_bytes
        A file that has as many resources, or bytes, is ended and another begun.
    export_keep_days
        How long after its end an export is kept; it is written down with the job when it is planned.
    """

    postgres: str = Field(min_length=1)
    objects: str = Field(min_length=1)
    public_url: str = Field(default="http://127.0.0.1:8080", pattern=r"^https?://\S+$")
    export_parts: int = Field(default=2, ge=1, le=64)
    export_part_bytes: int = Field(default=64 * _MIB, ge=1024)
    export_file_resources: int = Field(default=1_000_000, ge=1)
    export_file_bytes: int = Field(default=1024 * _MIB, ge=1)
    export_keep_days: float = Field(default=7.0, gt=0, le=3650)

    @property
    def parts_under_way(self) -> int:
        """How many parts this process has at once, whatever is done with each."""
        return self.export_parts + 2

    @property
    def fhir_url(self) -> str:
        """The address of our FHIR API."""
        return f"{self.public_url.rstrip('/')}/fhir"

    @property
    def keep(self) -> timedelta:
        """How long after its end an export is kept."""
        return timedelta(days=self.export_keep_days)

    @property
    def file_limits(self) -> FileLimits:
        """When a file is ended."""
        return FileLimits(self.export_file_resources, self.export_file_bytes)
