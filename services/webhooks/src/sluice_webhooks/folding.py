"""The fold: spans of jobs.events in, deliveries and offsets out, in one transaction per span."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice_contracts import wire
from sluice_contracts.cloudevents import event_id
from sluice_contracts.events import Event, JobPlanned
from sluice_contracts.ids import is_job_id
from sluice_contracts.topics import JOBS_EVENTS
from sluice_contracts.webhooks import NAMES, payload_of
from sluice_streaming.messages import Record
from sluice_streaming.outcomes import Fenced
from sluice_webhooks.store import FoldStore, Told


class Folding:
    """Makes deliveries of events, for those who want to hear of them.

    Parameters
    ----------
    store
        Where to.
    patience
        How long deliveries are tried.
    now
        The time.
    wake
        Called when there is something to deliver.
    """

    def __init__(
        self,
        store: FoldStore,
        patience: timedelta,
        now: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._store = store
        self._patience = patience
        self._now = now
        self._wake = wake
        self._decoder: wire.Decoder[Any] = wire.Decoder(JOBS_EVENTS.messages)
        self._reached: dict[tuple[str, int], int] = {}

    async def positions(self, partitions: Collection[int]) -> dict[int, int]:
        """Take over exactly these partitions and give the offset to read each one from."""
        found = await self._store.positions(JOBS_EVENTS.name, partitions)
        self._reached = {(JOBS_EVENTS.name, partition): offset for partition, offset in found.items()}
        return found

    async def apply(self, records: Sequence[Record]) -> None:
        """Fold a span: when this returns, its deliveries and its offsets are committed together.

        What cannot be read is passed over: the status service keeps account of it.

        Raises
        ------
        Fenced
            Another process folds one of these partitions.
        Unavailable
            The database is away: bring the same span again.
        """
        ahead = {(record.topic, record.partition): record.offset + 1 for record in records}
        try:
            expected = {place: self._reached[place] for place in ahead}
        except KeyError:
            raise Fenced from None
        events = list(self._events(records))
        owners = {
            event.job: (event.client, datetime.fromtimestamp(event.at, UTC))
            for event in events
            if isinstance(event, JobPlanned) and "\0" not in event.client
        }
        wanted = await self._store.wanted()
        told = [
            Told(message, name, event.job, payload_of(event), event.at)
            for event in events
            # What holds a NUL, which a code of a faulty producer's could, is nothing that Postgres takes.
            if (name := NAMES[type(event)]) in wanted and "\0" not in (message := event_id(event))
        ]
        now = self._now()
        added = await self._store.fold(expected, ahead, owners, told, now, now + self._patience)
        self._reached.update(ahead)
        if added:
            self._wake()

    def _events(self, records: Sequence[Record]) -> Iterator[Event]:
        for event in self._decoder.decode_each([record.value or b"" for record in records]):
            if isinstance(event, Event) and is_job_id(event.job):
                yield event
