"""Lots: one command about several items of a job, each of which succeeds, fails and waits for itself.

What costs per message is paid once for all of a lot: its record, its look-up, the writing of what came of it
and the record that goes on. What can go wrong with an item stays that item's: it fails alone, it is tried
again alone, and while it takes long the others are passed on without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from sluice_contracts.commands import LotCommand
from sluice_contracts.errors import ItemError
from sluice_contracts.ids import MOST_IN_LOT, item_key, items_text
from sluice_contracts.topics import Topic
from sluice_streaming.items import ITEMS, is_place
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import TIME_LIMIT, Partly, Reject, Rest, Retry, Unavailable
from sluice_streaming.slots import have
from sluice_telemetry.subject import about

PATIENCE = 0.25
"""Seconds after which what is ready of a lot is passed on without the rest."""

F = TypeVar("F")
M = TypeVar("M")
F_contra = TypeVar("F_contra", contravariant=True)
M_co = TypeVar("M_co", covariant=True)
C = TypeVar("C", bound=LotCommand)


def lot(topic: Topic, command: LotCommand, key: str | None = None) -> Message:
    """Address a lot: by its job and first item, or by `key`.

    A header names its items too, so that they can be failed if the command cannot be read.
    """
    key = item_key(command.job, command.items[0]) if key is None else key
    return Message(topic, key, command, ((ITEMS, items_text(command.items).encode()),))


def weigh(command: LotCommand) -> int:
    """Give how many items a command is about; see `Step.weigh`."""
    return max(1, len(command.items))


class Together(Protocol[C, F_contra, M_co]):
    """Does for several items of a lot in one go what each item's own work would do."""

    def groups(self, found: Mapping[int, F_contra | None], /) -> Sequence[Sequence[int]]:
        """Say which items are to be done together; those that are in no group are worked on alone."""

    async def work(
        self, delivery: Delivery[C], found: Mapping[int, F_contra], /
    ) -> Mapping[int, M_co | Message]:
        """Give what came of a group's items; those that are missing are worked on alone after all.

        What it raises is about all of them.
        """


class Lots(Generic[C, F, M]):
    """Handles lots.

    Parameters
    ----------
    find
        Looks the items of a job up: gives one each, None where there is none.
    work
        Does what an item takes beside the others', and gives what came of it, or the message that is the
        last word on it. What it raises is about this item: see `sluice_streaming.outcomes`.
    conclude
        Ends items of a job together, in the order of their positions: keeps what came of them and gives the
        messages. If it fails for several, each is concluded by itself.
    again
        Gives the command about one item alone, as a message.
    at_once
        How many items are worked on at once, at most.
    patience
        See `PATIENCE`.
    time_limit
        Seconds after which an item is given up for now and tried again, with the code `time_limit`.
    together
        Does what can be done for several items in one go.
    """

    def __init__(
        self,
        find: Callable[[str, Sequence[int]], Awaitable[Sequence[F | None]]],
        work: Callable[[Delivery[C], int, F], Awaitable[M | Message]],
        conclude: Callable[[str, Mapping[int, M]], Awaitable[Sequence[Message]]],
        again: Callable[[str, int], Message],
        *,
        at_once: int = MOST_IN_LOT,
        patience: float = PATIENCE,
        time_limit: float = 3600.0,
        together: Together[C, F, M] | None = None,
    ) -> None:
        self._find = find
        self._work = work
        self.conclude = conclude
        self.again = again
        self.at_once = at_once
        self.patience = patience
        self.time_limit = time_limit
        self.together = together

    async def handle(self, delivery: Delivery[C]) -> Sequence[Message]:
        """Handle a lot; see `sluice_streaming.step.Handler`.

        Raises
        ------
        Retry, Reject
            As the one item's work did.
        Partly
            Some of several items could not be done.
        Unavailable
            Something that all items need is away.
        """
        command = delivery.command
        job, items = command.job, dict.fromkeys(command.items)
        if not (0 < len(items) <= MOST_IN_LOT and all(is_place(job, item) for item in items)):
            raise Reject(ItemError.INTERNAL)
        found = dict(zip(items, await self._find(job, list(items)), strict=True))
        if len(items) == 1:
            return await self._alone(delivery, *found.popitem())
        return await _Lot(self, delivery, found).run()

    async def _alone(self, delivery: Delivery[C], item: int, found: F | None) -> Sequence[Message]:
        scope = asyncio.timeout(self.time_limit)
        try:
            async with scope:
                made = await self.one(delivery, item, found)
        except TimeoutError:
            if scope.expired():
                raise Retry(TIME_LIMIT) from None
            raise
        return (
            (made,) if isinstance(made, Message) else await self.conclude(delivery.command.job, {item: made})
        )

    async def one(self, delivery: Delivery[C], item: int, found: F | None) -> M | Message:
        """Do what one item takes; see `work`."""
        about(delivery.command.job, item)
        if found is None:
            raise Reject(ItemError.INTERNAL)
        return await self._work(delivery, item, found)


_Done = Mapping[int, M | Message]


class _Lot(Generic[C, F, M]):
    """One lot of several items under way."""

    def __init__(self, lots: Lots[C, F, M], delivery: Delivery[C], found: Mapping[int, F | None]) -> None:
        self._lots = lots
        self._delivery = delivery
        self._job = delivery.command.job
        self._found = found
        self._gate = asyncio.Semaphore(lots.at_once) if len(found) > lots.at_once else None
        self._messages: list[Message] = []
        self._rest: list[Rest] = []
        self._ready: dict[int, M] = {}
        self._passed = 0  # items that are done, or have failed, and hold their slots no longer
        self._away: Unavailable | None = None
        self._ends = asyncio.get_running_loop().time() + lots.time_limit
        self._tasks: dict[asyncio.Task[_Done[M]], tuple[int, ...]] = {}
        self._begin()

    def _begin(self) -> None:
        alone = dict.fromkeys(self._found)
        for items in () if self._lots.together is None else self._lots.together.groups(self._found):
            self._start(self._several(items), tuple(items))
            for item in items:
                del alone[item]
        for item in alone:
            self._start(self._one(item), (item,))

    def _start(self, work: Coroutine[None, None, _Done[M]], items: tuple[int, ...]) -> asyncio.Task[_Done[M]]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = items
        return task

    async def run(self) -> Sequence[Message]:
        """See `Lots.handle`."""
        try:
            waiting = set(self._tasks)
            while waiting:
                done, waiting = await self._some(waiting)
                if alone := self._note(done):
                    waiting |= alone
                    continue
                if self._ready:
                    ready, self._ready = dict(sorted(self._ready.items())), {}
                    await self._conclude(ready)
                if waiting and (self._messages or self._rest):
                    await self._pass_on()
        finally:
            late = [task for task in self._tasks if not task.done()]
            for task in late:
                task.cancel()
            if late:
                await asyncio.gather(*late, return_exceptions=True)
        if self._away is not None:
            # What else there was is done, and found so when the lot is handled again.
            raise self._away
        if self._rest:
            raise Partly(self._messages, self._rest)
        return self._messages

    async def _pass_on(self) -> None:
        messages, rest, passed = self._messages, self._rest, self._passed
        self._messages, self._rest, self._passed = [], [], 0
        await self._delivery.pass_on(messages, rest, passed)

    async def _one(self, item: int) -> _Done[M]:
        if self._gate is None:
            return {item: await self._lots.one(self._delivery, item, self._found[item])}
        async with self._gate:
            return {item: await self._lots.one(self._delivery, item, self._found[item])}

    async def _several(self, items: Sequence[int]) -> _Done[M]:
        have(len(items))
        found = {item: it for item in items if (it := self._found[item]) is not None}
        assert self._lots.together is not None  # noqa: S101 - it made the group
        return await self._lots.together.work(self._delivery, found)

    async def _some(
        self, waiting: set[asyncio.Task[_Done[M]]]
    ) -> tuple[Collection[asyncio.Task[_Done[M]]], set[asyncio.Task[_Done[M]]]]:
        """Wait for all, or for some when patience is over; at the time limit none waits any more."""
        done, waiting = await asyncio.wait(waiting, timeout=self._lots.patience)
        if not done and not self._ready:
            left = self._ends - asyncio.get_running_loop().time()
            done, waiting = await asyncio.wait(
                waiting, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                for task in waiting:
                    self._leave(self._tasks[task], Retry(TIME_LIMIT))
                    task.cancel()
                return (), set()
        return done, waiting

    def _note(self, done: Collection[asyncio.Task[_Done[M]]]) -> set[asyncio.Task[_Done[M]]]:
        """Note what came of these items; those that a group left out begin alone, and are given."""
        alone = set()
        for task in sorted(done, key=self._tasks.__getitem__):
            items = self._tasks[task]
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if isinstance(error, Unavailable):
                self._away = error
                continue
            if error is not None:
                self._leave(items, error)
                continue
            made = task.result()
            for item, it in made.items():
                if isinstance(it, Message):
                    self._messages.append(it)
                else:
                    self._ready[item] = it
            self._passed += len(made)
            if len(made) < len(items):
                alone |= {self._start(self._one(item), (item,)) for item in items if item not in made}
        return alone

    def _leave(self, items: Iterable[int], why: BaseException) -> None:
        for item in items:
            self._rest.append(Rest(self._lots.again(self._job, item), why))
            self._passed += 1

    async def _conclude(self, ready: Mapping[int, M]) -> None:
        try:
            self._messages += await self._lots.conclude(self._job, ready)
        except Unavailable:
            raise
        except Exception as error:
            if len(ready) == 1:
                self._rest.append(Rest(self._lots.again(self._job, next(iter(ready))), error))
                return
            for item, made in ready.items():
                await self._conclude({item: made})
