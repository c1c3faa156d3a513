"""What the steps that handle one item after another say of it on `jobs.events`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sluice_contracts.commands import ItemCommand
from sluice_contracts.errors import item_error
from sluice_contracts.events import Event, ItemCancelled, ItemFailed, ItemRetrying, Stage
from sluice_contracts.ids import is_job_id, item_of_key
from sluice_contracts.topics import JOBS_EVENTS
from sluice_streaming.messages import Delivery, Message, Record
from sluice_streaming.outcomes import Failure

C = TypeVar("C", bound=ItemCommand)

_ITEMS_END = 2**31


def event(body: Event) -> Message:
    """Address an event."""
    return Message(JOBS_EVENTS, body.job, body)


def is_item(command: ItemCommand) -> bool:
    """Tell whether an item can be called so; what cannot must not reach a statement with others' rows."""
    return is_job_id(command.job) and 0 <= command.item < _ITEMS_END


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
        failed = ItemFailed(
            job=command.job,
            at=self._clock(),
            item=command.item,
            stage=self._stage,
            code=item_error(code),
            source_status=status,
        )
        return event(failed)

    def on_dead(self, subject: Delivery[C] | Record, failure: Failure) -> Sequence[Message]:
        """Fail the item of a command that is given up; see `sluice_streaming.step.OnDead`.

        What a command that cannot be decoded was about, its record's key tells if it is an item's.
        """
        command: ItemCommand
        if isinstance(subject, Delivery):
            command = subject.command
        elif (named := item_of_key(subject.key)) is not None:
            command = ItemCommand(job=named[0], item=named[1])
        else:
            return ()
        return (self.failed(command, failure.code, failure.status),) if is_item(command) else ()

    def on_retry(self, delivery: Delivery[C], failure: Failure) -> Sequence[Message]:
        """Say that the item waits to be tried again; see `sluice_streaming.step.OnRetry`."""
        if failure.due is None:
            return ()
        command = delivery.command
        retrying = ItemRetrying(
            job=command.job,
            at=self._clock(),
            item=command.item,
            stage=self._stage,
            code=item_error(failure.code),
            attempt=failure.attempt,
            due=failure.due,
        )
        return (event(retrying),)
