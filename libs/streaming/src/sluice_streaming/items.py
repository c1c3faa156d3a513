"""What the steps that handle items say of them on `jobs.events`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sluice_contracts.commands import ItemCommand, LotCommand
from sluice_contracts.errors import item_error
from sluice_contracts.events import (
    DocumentsEvent,
    Event,
    ItemCancelled,
    ItemFailed,
    ItemRetrying,
    Stage,
    each,
)
from sluice_contracts.ids import is_job_id, item_of_key, items_of_text
from sluice_contracts.topics import JOBS_EVENTS
from sluice_streaming import metrics
from sluice_streaming.messages import Delivery, Message, Record, header
from sluice_streaming.outcomes import Failure

C = TypeVar("C", bound=ItemCommand | LotCommand)

ITEMS = "items"
"""The header that names a lot's items, written by `sluice_contracts.ids.items_text`."""
_ITEMS_END = 2**31


def event(body: Event) -> Message:
    """Address an event."""
    return Message(JOBS_EVENTS, body.job, body)


def documents(body: DocumentsEvent) -> Message:
    """Address an event about several items; about one it is told in the singular."""
    return event(body if len(body.items) > 1 else each(body)[0])


def is_item(command: ItemCommand) -> bool:
    """Tell whether an item can be called so; what cannot must not reach a statement with others' rows."""
    return is_place(command.job, command.item)


def is_place(job: str, item: int) -> bool:
    """Tell as `is_item` of a job and a position."""
    return 0 <= item < _ITEMS_END and is_job_id(job)


class ItemReports:
    """The events about items that every step has.

    Parameters
    ----------
    stage
        The step.
    clock
        Unix seconds.
    """

    def __init__(self, stage: Stage, clock: Callable[[], float]) -> None:
        self._stage = stage
        self._clock = clock

    def cancelled(self, command: ItemCommand) -> Message:
        """Say that the item was left alone, because its job was cancelled."""
        return event(ItemCancelled(job=command.job, at=self._clock(), item=command.item))

    def failed(self, command: ItemCommand, code: str, status: int | None = None) -> Message:
        """Say that the item ended without a file; `status` is the HTTP status of the source's answer."""
        known = item_error(code)
        metrics.ITEMS_FAILED.labels(self._stage, known).inc()
        failed = ItemFailed(
            job=command.job,
            at=self._clock(),
            item=command.item,
            stage=self._stage,
            code=known,
            source_status=status,
        )
        return event(failed)

    def on_dead(self, subject: Delivery[C] | Record, failure: Failure) -> Sequence[Message]:
        """Fail the items of a command that is given up; see `sluice_streaming.step.OnDead`.

        What a command that cannot be decoded was about, its record's header or key tells if it is items'.
        """
        about = _about(subject.command) if isinstance(subject, Delivery) else _named(subject)
        return tuple([self.failed(it, failure.code, failure.status) for it in about if is_item(it)])

    def on_retry(self, delivery: Delivery[C], failure: Failure) -> Sequence[Message]:
        """Say that the items wait to be tried again; see `sluice_streaming.step.OnRetry`."""
        if failure.due is None:
            return ()
        return tuple(
            [
                event(
                    ItemRetrying(
                        job=it.job,
                        at=self._clock(),
                        item=it.item,
                        stage=self._stage,
                        code=item_error(failure.code),
                        attempt=failure.attempt,
                        due=failure.due,
                    )
                )
                for it in _about(delivery.command)
                if is_item(it)
            ]
        )


def _about(command: ItemCommand | LotCommand) -> Sequence[ItemCommand]:
    if isinstance(command, ItemCommand):
        return (command,)
    return [ItemCommand(job=command.job, item=item) for item in dict.fromkeys(command.items)]


def _named(record: Record) -> Sequence[ItemCommand]:
    named = item_of_key(record.key)
    items = header(record.headers, ITEMS)
    if items is None:
        return () if named is None else (ItemCommand(job=named[0], item=named[1]),)
    job = (record.key or b"").decode("ascii", "replace") if named is None else named[0]
    return [ItemCommand(job=job, item=item) for item in items_of_text(items.decode("ascii", "replace"))]
