"""The Faust application: one agent that folds `jobs.events` into tables, timers, and web views.

Faust acknowledges a message whose agent raised, so the agent's body lets nothing out; it runs once
(concurrency 1); and topics, its changelogs included, are there before it starts (see `starting`).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any

import faust
import msgspec
import structlog
from yarl import URL

from sluice_contracts import wire
from sluice_contracts.alerts import Alert
from sluice_contracts.topics import (
    INSIGHT_ALERTS,
    INSIGHT_JOBS,
    INSIGHT_RATES,
    INSIGHT_TOLD,
    JOBS_EVENTS,
    Topic,
)
from sluice_insight import metrics
from sluice_insight.folding import Dimension, Folder, Placed
from sluice_insight.jobs import JobView
from sluice_insight.rates import Series
from sluice_insight.rows import PlacedTable, Rows
from sluice_insight.settings import Settings
from sluice_insight.views import Views
from sluice_insight.watching import Watch, holding, named, subject_of
from sluice_telemetry.logs import describe

log = structlog.get_logger(__name__)

GROUP = "insight"
_WITHIN = 0.2
_EXPIRE_EVERY = 30.0
_MOST_ASKED = 100
_SESSION = 10.0


class _App(faust.App):
    # What the library says of starting and stopping is not for an operator.
    mundane_level = "debug"

    async def on_first_start(self) -> None:
        """Make no folders: the tables are in memory, and the file system may be read-only."""


class Insight:
    """The application and what it is made of.

    Parameters
    ----------
    settings
        What it is told.
    clock
        Unix seconds.

    Attributes
    ----------
    records
        How many it has read.
    cut_off
        Whether Kafka gave no answer when it was asked last.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._behind_at = clock()
        self.records = 0
        self.cut_off = False
        self._decoder: wire.Decoder[Any] = wire.Decoder(JOBS_EVENTS.messages)
        self.app = _make(settings)
        jobs, rates = self._table(INSIGHT_JOBS), self._table(INSIGHT_RATES)
        self.folder = Folder(Rows(jobs, JobView), Rows(rates, Series), clock)
        told: Rows[Alert] = Rows(self._table(INSIGHT_TOLD), INSIGHT_ALERTS.messages)
        self.watch = Watch(told)
        self.views = Views(self.folder, self.watch, settings.thresholds, clock)
        self._alerts = self._raw(INSIGHT_ALERTS)
        self.app.agent(self._raw(JOBS_EVENTS), name="events", concurrency=1)(self._follow)
        self.app.on_rebalance_complete.connect(self._hold)
        self.app.timer(_EXPIRE_EVERY, name="expire")(self.expire)
        self.app.timer(settings.insight_judge_every, name="judge")(self.judge)
        self._serve()

    def fold(self, records: Sequence[tuple[int, bytes | None]]) -> None:
        """Fold records of `jobs.events`: partition and value. Nothing that they hold makes it raise."""
        self.records += len(records)
        if len(records) >= self._settings.insight_batch:
            self._behind_at = self._clock()
        events: list[Placed] = []
        decoded = self._decoder.decode_each([value or b"" for _, value in records])
        for (partition, _), event in zip(records, decoded, strict=True):
            if isinstance(event, wire.MalformedMessageError):
                metrics.SKIPPED.labels(type(event).__name__).inc()
            else:
                events.append((partition, event))
        self.folder.fold(events, _refused)
        metrics.EVENTS.inc(len(events))

    async def expire(self) -> None:
        """Forget what is too old."""
        try:
            self.folder.expire()
        except Exception as error:  # the timer has to go on
            _failed("expire", error)

    async def judge(self) -> None:
        """See what is worth looking at and tell what is new or over; not while catching up with events."""
        now = self._clock()
        if now - self._behind_at < self._settings.insight_settled_after:
            return
        try:
            held = holding(self.folder.jobs, self.folder.rates, now, self._settings.thresholds)
            for alert in self.watch.news(held, now):
                await self._tell(alert)
        except Exception as error:  # the timer has to go on
            _failed("judge", error)

    async def _tell(self, alert: Alert) -> None:
        kind = type(alert).__name__
        try:
            key = subject_of(alert).encode()
            await (await self._alerts.send(key=key, value=wire.encode(alert)))
        except Exception as error:  # it is told the next time instead
            _failed("tell", error)
            return
        self.watch.note(alert)
        metrics.ALERTS.labels(kind).inc()
        log.warning("alert", type=kind, **named(alert))

    async def _hold(self, app: Any, /, *_: Any, **__: Any) -> None:
        """Read nothing from when a rebalance's tables are restored until Faust has sought where it goes on.

        It would read on meanwhile, then empty its streams' buffers, and take what was in them for read.
        """
        app.consumer.stop_flow()

    async def _follow(self, stream: Any) -> None:
        batches: AsyncIterable[Sequence[Any]] = stream.take_events(self._settings.insight_batch, _WITHIN)
        async for batch in batches:
            try:
                self.fold([(event.message.partition, event.value) for event in batch])
            except Exception as error:  # what an agent raises is lost, and the agent with it
                _failed("fold", error)

    def _raw(self, topic: Topic) -> Any:
        return self.app.topic(
            topic.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            allow_empty=True,
        )

    def _table(self, changelog: Topic) -> Any:
        log_topic = self.app.topic(
            changelog.name,
            key_serializer="json",
            value_type=bytes,
            value_serializer="raw",
            partitions=changelog.partitions,
            compacting=True,
            acks=False,
            internal=True,
            allow_empty=True,
            maxsize=131_072,
        )
        name = changelog.name.removesuffix(".changelog")
        return self.app.Table(
            name, value_type=bytes, partitions=changelog.partitions, changelog_topic=log_topic
        )

    def _serve(self) -> None:
        answers: dict[str, Callable[[Any], Any]] = {
            "/sources": lambda _request: self.views.by(Dimension.SOURCE),
            "/clients": lambda _request: self.views.by(Dimension.CLIENT),
            "/jobs": lambda _request: self.views.jobs(),
            "/etas": lambda request: self.views.etas(request.query.getall("job", [])[:_MOST_ASKED]),
            "/alerts": lambda _request: self.views.alerts(),
        }
        for path, answer in answers.items():
            self.app.page(path, name=path.strip("/"))(_view(answer))


def _view(answer: Callable[[Any], Any]) -> Callable[..., Any]:
    async def view(web: Any, request: Any) -> Any:
        return web.bytes(msgspec.json.encode(answer(request)), content_type="application/json")

    return view


def _make(settings: Settings) -> faust.App:
    host, port = settings.address
    return _App(
        GROUP,
        broker=[URL(f"kafka://{address.strip()}") for address in settings.kafka.split(",")],
        store="memory://",
        Table=PlacedTable,
        consumer_auto_offset_reset="earliest",
        # One that was killed is followed by the next as soon as its session has ended. Faust does not get on
        # with static membership: what it is assigned carries an address that the next process may not have.
        broker_session_timeout=_SESSION,
        broker_heartbeat_interval=_SESSION / 3,
        # Nor is whoever died in the midst of a rebalance waited for any longer.
        broker_rebalance_timeout=2 * _SESSION,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=JOBS_EVENTS.partitions,
        web_host=host,
        web_bind=host,
        web_port=port,
        # Only what is ours is served: Faust's own pages show tables and addresses.
        web_router_enabled=False,
        web_tables_enabled=False,
        web_stats_enabled=False,
        web_graph_enabled=False,
        web_metrics_enabled=False,
    )


def _refused(error: Exception) -> None:
    metrics.SKIPPED.labels(type(error).__name__).inc()


def _failed(work: str, error: Exception) -> None:
    metrics.FAULTS.labels(work, type(error).__name__).inc()
    log.error("work is left for the next time", work=work, **describe(error))
