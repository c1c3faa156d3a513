"""Every topic, declared once: what it carries, how it is keyed and kept, who writes and who reads it.

A topic whose messages have effects also has retry tiers and a dead-letter topic, named after it. Topics are
created by an explicit step (`sluice-topics create`) before any service starts, never by a service.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sluice_contracts import alerts, commands, events, states


@dataclass(frozen=True, slots=True)
class RetryTier:
    """A topic that holds messages for one fixed time, so that they leave it in the order they came."""

    name: str
    delay: timedelta


RETRY_TIERS = (
    RetryTier("1s", timedelta(seconds=1)),
    RetryTier("10s", timedelta(seconds=10)),
    RetryTier("1m", timedelta(minutes=1)),
    RetryTier("10m", timedelta(minutes=10)),
)
COMMANDS_KEPT = timedelta(days=7)
"""How long commands stay on Kafka: an accepted job that no service has begun by then never will be."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Parameters
    ----------
    name
        Its name on Kafka.
    messages
        The union of message classes it carries (`None` for copies of other topics' records).
    key
        What its records are keyed by, in words.
    partitions
        How many; this bounds how many processes of one service can share the work.
    retention
        How long records stay, `None` for ever.
    compacted
        Keep only the last record of each key.
    retries
        The tiers a message waits in after a failure that may pass; none: it is never retried.
    ordered
        Handle records of one key one after another, in their order. Without it records of a key may be
        handled at the same time. A record that waits in a retry tier is overtaken in either case.
    redrivable
        A message that died does its work when it is tried again. Otherwise what it was for was settled as
        failed when it died, in files and rows that tell so, and only a new job does it.
    cloudevents
        Its messages are events, and its records CloudEvents; see `sluice_contracts.cloudevents`.
    """

    name: str
    messages: Any
    key: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int = 8
    retention: timedelta | None = COMMANDS_KEPT
    compacted: bool = False
    retries: tuple[RetryTier, ...] = ()
    ordered: bool = False
    redrivable: bool = True
    cloudevents: bool = False

    def retry(self, tier: RetryTier) -> str:
        """Name the topic that holds this one's messages for that tier's delay."""
        return f"{self.name}.retry.{tier.name}"

    @property
    def dead(self) -> str:
        """The dead-letter topic's name."""
        return f"{self.name}.dead"


JOBS_DOCUMENT_IMPORT = Topic(
    name="jobs.document-import",
    messages=commands.DocumentImportCommand,
    key="job",
    producers=("gateway",),
    consumers=("fetcher",),
    retries=RETRY_TIERS,
    ordered=True,
)
DOCUMENT_FETCH = Topic(
    name="document.fetch",
    messages=commands.FetchDocuments,
    key="job and the lot's first item, so that one job's lots spread over processes",
    producers=("fetcher",),
    consumers=("fetcher",),
    retries=RETRY_TIERS,
)
DOCUMENT_SCRAPE = Topic(
    name="document.scrape",
    messages=commands.ScrapeDocuments,
    key="job, so that what a job's items refer to in common is fetched by one process, once",
    producers=("fetcher",),
    consumers=("scraper",),
    retries=RETRY_TIERS,
)
DOCUMENT_ATTACH = Topic(
    name="document.attach",
    messages=commands.AttachDocuments,
    key="job and the lot's first item, so that one job's lots spread over processes",
    producers=("scraper",),
    consumers=("attacher",),
    retries=RETRY_TIERS,
)
JOBS_BULK_EXPORT = Topic(
    name="jobs.bulk-export",
    messages=commands.BulkExportCommand,
    key="job",
    producers=("gateway",),
    consumers=("exporter",),
    retries=RETRY_TIERS,
    redrivable=False,
    ordered=True,
)
BULK_EXPORT_PARTS = Topic(
    name="bulk-export.parts",
    messages=commands.PartCommand,
    key="job and part, so that one job's parts spread over processes",
    producers=("exporter",),
    consumers=("exporter",),
    retries=RETRY_TIERS,
    redrivable=False,
)
JOBS_BULK_IMPORT = Topic(
    name="jobs.bulk-import",
    messages=commands.BulkImportCommand,
    key="job",
    producers=("gateway", "puller"),
    consumers=("puller",),
    retries=RETRY_TIERS,
    redrivable=False,
    ordered=True,
)
BULK_IMPORT_FILES = Topic(
    name="bulk-import.files",
    messages=commands.PulledFileCommand,
    key="job and file, so that one job's files spread over processes",
    producers=("puller",),
    consumers=("puller",),
    retries=RETRY_TIERS,
    redrivable=False,
)
JOBS_EXPIRE = Topic(
    name="jobs.expire",
    messages=commands.ExpireJob,
    key="job",
    producers=("gateway", "exporter", "expirer"),
    consumers=("expirer",),
    retries=RETRY_TIERS,
    ordered=True,
)
JOBS_EVENTS = Topic(
    name="jobs.events",
    messages=events.JobEvent,
    key="job",
    producers=("fetcher", "scraper", "attacher", "puller", "exporter", "expirer", "status"),
    consumers=("status", "insight", "webhooks", "gateway", "downstream systems"),
    retention=timedelta(days=30),
    cloudevents=True,
)
JOBS_STATE = Topic(
    name="jobs.state",
    messages=states.JobState,
    key="job",
    producers=("status",),
    consumers=("downstream systems",),
    retention=None,
    compacted=True,
)
INSIGHT_ALERTS = Topic(
    name="insight.alerts",
    messages=alerts.InsightAlert,
    key="what the alert is about: a job or a source",
    producers=("insight",),
    consumers=("downstream systems",),
    partitions=1,
)

TOPICS = (
    JOBS_DOCUMENT_IMPORT,
    DOCUMENT_FETCH,
    DOCUMENT_SCRAPE,
    DOCUMENT_ATTACH,
    JOBS_BULK_EXPORT,
    BULK_EXPORT_PARTS,
    JOBS_BULK_IMPORT,
    BULK_IMPORT_FILES,
    JOBS_EXPIRE,
    JOBS_EVENTS,
    JOBS_STATE,
    INSIGHT_ALERTS,
)


def _changelog(name: str) -> Topic:
    """Declare the log that a table of insight's is restored from; its values are insight's own business."""
    return Topic(
        name=name,
        messages=None,
        key="partition of jobs.events, or 0, and what the row is about",
        producers=("insight",),
        consumers=("insight",),
        partitions=JOBS_EVENTS.partitions,
        retention=None,
        compacted=True,
    )


INSIGHT_JOBS = _changelog("insight.jobs.changelog")
INSIGHT_RATES = _changelog("insight.rates.changelog")
INSIGHT_TOLD = _changelog("insight.told.changelog")

CHANGELOGS = (INSIGHT_JOBS, INSIGHT_RATES, INSIGHT_TOLD)
"""Topics that hold one service's state, for nobody else to read."""

ALL_TOPICS = (*TOPICS, *CHANGELOGS)
"""Everything that has to exist."""
