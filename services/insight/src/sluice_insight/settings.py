"""The service's settings, from the environment (prefix `SLUICE_`)."""

from __future__ import annotations

from pydantic import Field

from sluice_insight.watching import Thresholds
from sluice_settings import Settings as BaseSettings


class Settings(BaseSettings):
    """What insight is told.

    Parameters
    ----------
    kafka
        `host:port`, several separated by commas.
    listen
        Where its views are served; not for the world, as nobody is asked who they are.
    stuck
        Seconds of lag without progress after which the process ends, so that another takes over; 0: never.
    insight_stuck_after
        Seconds of silence after which a running job counts as stuck.
    insight_failing_within, insight_failing_faults, insight_failing_share
        A source counts as failing if within so many seconds at least so many attempts failed for its reasons,
        and these are at least that share of all.
    insight_judge_every, insight_settled_after
        Seconds between two looks for what is worth an alert, and how long events must have been kept up with
        before the first: until then jobs that have long ended look as if nothing were heard of them.
    insight_batch
        The most events folded at once.
    """

    kafka: str = Field(default="127.0.0.1:9092", min_length=1)
    listen: str = Field(default="127.0.0.1:8082", pattern=r"^.*:\d{1,5}$")
    stuck: float = Field(default=300.0, ge=0)
    insight_stuck_after: float = Field(default=1800.0, gt=0)
    insight_failing_within: float = Field(default=300.0, ge=10, le=900)
    insight_failing_faults: int = Field(default=20, ge=1)
    insight_failing_share: float = Field(default=0.5, gt=0, le=1)
    insight_judge_every: float = Field(default=10.0, ge=0.1)
    insight_settled_after: float = Field(default=30.0, ge=0)
    insight_batch: int = Field(default=500, ge=1, le=10_000)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - an empty host means every address

    @property
    def thresholds(self) -> Thresholds:
        """When something is worth looking at."""
        return Thresholds(
            stuck_after=self.insight_stuck_after,
            failing_within=self.insight_failing_within,
            failing_faults=self.insight_failing_faults,
            failing_share=self.insight_failing_share,
        )
