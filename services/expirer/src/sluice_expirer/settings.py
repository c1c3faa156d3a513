"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings):
    """Beside what every streaming service is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_expirer`.
    objects
        URL of the object store.
    expire_every
        Seconds between two rounds.
    expire_longest_download_hours
        How long after an export's deletion its files wait for downloads that began before.
    expire_settle_hours
        How long after an export went what late writers left of it is looked for.
    expire_import_days
        How long after its end it is kept what became of an import.
    audit_days
        How long audit records are kept at least; they go by whole months.
    """

    postgres: str = Field(min_length=1)
    objects: str = Field(min_length=1)
    expire_every: float = Field(default=30.0, gt=0)
    expire_longest_download_hours: float = Field(default=6.0, ge=0)
    expire_settle_hours: float = Field(default=2.0, ge=0)
    expire_import_days: float = Field(default=7.0, gt=0)
    # Six years from when it was made, or was last in effect (45 CFR 164.316(b)(2)).
    audit_days: int = Field(default=2_192, ge=30)

    @property
    def longest_download(self) -> timedelta:
        """How long after an export's deletion its files wait for downloads."""
        return timedelta(hours=self.expire_longest_download_hours)

    @property
    def settle(self) -> timedelta:
        """How long after an export went what late writers left of it is looked for."""
        return timedelta(hours=self.expire_settle_hours)

    @property
    def import_keep(self) -> timedelta:
        """How long after its end it is kept what became of an import."""
        return timedelta(days=self.expire_import_days)

    @property
    def audit_keep(self) -> timedelta:
        """How long audit records are kept."""
        return timedelta(days=self.audit_days)
