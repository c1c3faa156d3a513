"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pydantic import Field

from sluice_streaming.settings import StreamSettings


class Settings(StreamSettings):
    """Beside what every streaming service is told.

    Parameters
    ----------
    postgres
        `postgresql://` URL of the role `sluice_status`.
    batch
        The most events in one transaction.
    pace
        Seconds from one transaction to the next, unless a full one waits.
    state_interval
        Seconds between two states told of one running job.
    """

    postgres: str = Field(min_length=1)
    batch: int = Field(default=20_000, ge=1, le=100_000)
    pace: float = Field(default=0.05, ge=0, le=10)
    state_interval: float = Field(default=2.0, ge=0)
