"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from sluice_fhir.source_settings import SourceSettings
from sluice_puller.asking import Patience
from sluice_security.http_limits import MIB
from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings, SourceSettings):
    """Beside what every streaming service is told, and every service that reads from sources.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_puller`.
    pull_files
        How many files this process loads at once; each has up to two connections to Postgres.
    pull_file_bytes, pull_line_bytes
        The longest file and the longest line that is loaded.
    pull_encrypted_bytes
        The longest file that is loaded of those that are encrypted, which are held whole.
    pull_first
        Seconds between the kick-off of a source's export and the first poll, unless the source says.
    pull_least, pull_most
        The bounds, in seconds, of any other wait between two polls, whatever the source says.
    pull_hours
        How long a source's export is waited for in all.
    pull_strikes
        How many failures of a source in a row, which may each pass, end an import that is not planned yet.
    pull_delete
        Delete exports at their sources when their files are loaded, or not wanted any more.
    pull_every
        Seconds between two looks at what is due.
    replaced_days
        How long versions of resources stay after they were replaced or deleted.
    """

    postgres: str = Field(min_length=1)
    pull_files: int = Field(default=2, ge=1, le=64)
    pull_file_bytes: int = Field(default=10_000_000_000, ge=1)
    pull_line_bytes: int = Field(default=64 * MIB, ge=1024)
    pull_encrypted_bytes: int = Field(default=32 * MIB, ge=1024)
    pull_first: float = Field(default=0.05, gt=0)
    pull_least: float = Field(default=0.25, gt=0)
    pull_most: float = Field(default=300.0, gt=0)
    pull_hours: float = Field(default=24.0, gt=0)
    pull_strikes: int = Field(default=10, ge=1)
    pull_delete: bool = True
    pull_every: float = Field(default=1.0, gt=0)
    replaced_days: float = Field(default=30.0, gt=0)

    @property
    def patience(self) -> Patience:
        """How sources are waited for."""
        return Patience(
            first=timedelta(seconds=self.pull_first),
            least=timedelta(seconds=self.pull_least),
            most=timedelta(seconds=self.pull_most),
            whole=timedelta(hours=self.pull_hours),
            strikes=self.pull_strikes,
        )

    @property
    def lease(self) -> timedelta:
        """How long a step at a source may take before another process takes it as well."""
        return timedelta(seconds=self.source_answer + self.source_idle + 60)
