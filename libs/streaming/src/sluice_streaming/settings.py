"""Settings of the runtime, from the environment; services extend them with their own."""

from __future__ import annotations

from pydantic import Field

from sluice_settings import Settings
from sluice_streaming.giving_way import give_way
from sluice_streaming.kafka import KafkaBackend, KafkaTuning
from sluice_streaming.limits import Limits


class StreamSettings(Settings):
    """What every streaming service is told (prefix `SLUICE_`).

    Parameters
    ----------
    kafka
        `host:port`, several separated by commas.
    concurrency
        How many items may be in flight per process before no further lot of them begins.
    stuck
        Seconds of lag without progress after which the process ends, so that another takes over; 0: never.
    attempts
        Deliveries of one message, the first included, before it is dead-lettered and its item fails; a second
        comes after 1 s, then 10 s, a minute, and every 10 minutes.
    instance
        A name that this process keeps over restarts and shares with no other of its service, for example
        a pod's; see `KafkaBackend`. Without it a killed process's share waits for its session to end.
    """

    kafka: str = Field(default="127.0.0.1:9092", min_length=1)
    concurrency: int = Field(default=256, ge=1, le=4096)
    stuck: float = Field(default=300.0, ge=0)
    attempts: int = Field(default=8, ge=1, le=100)
    instance: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,100}$")

    def backend(self, tuning: KafkaTuning | None = None) -> KafkaBackend:
        """Make the Kafka backend of these settings."""
        return KafkaBackend(self.kafka, instance=self.instance, tuning=tuning)

    def limits(self) -> Limits:
        """Give the worker's limits of these settings."""
        return Limits(stuck=self.stuck, attempts=self.attempts)


class GivingWaySettings(Settings):
    """What a service is told whose work may wait for what others do.

    Parameters
    ----------
    nice
        How far this process gives way to others that want the processor, 0 (not at all) to 19.
    """

    nice: int = Field(default=10, ge=0, le=19)

    def give_way(self) -> None:
        """Have this process compute after others; see `sluice_streaming.giving_way`."""
        give_way(self.nice)


class ProcessSettings(Settings):
    """What every process is told, whatever it does.

    Parameters
    ----------
    health
        `host:port` of the health endpoints; port 0, or nothing, means none.
    log_level
        The least severity that is logged.
    trace_ratio
        Which share of the traces that begin here is exported, where `OTEL_EXPORTER_OTLP_ENDPOINT` says where
        to.
    trace_slow
        Seconds from which on a call to a source is told that went well; one that did not always is. 0: all.
    """

    health: str = Field(default="", pattern=r"^$|^.*:\d{1,5}$")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    trace_ratio: float = Field(default=1.0, ge=0, le=1)
    trace_slow: float = Field(default=0.1, ge=0)
