"""Lots: what is ready goes on, what fails fails alone, and nothing begins that has no room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.commands import FetchDocuments
from sluice_contracts.ids import MOST_IN_LOT, items_of_text, items_text
from sluice_contracts.topics import DOCUMENT_FETCH, DOCUMENT_SCRAPE
from sluice_streaming.lots import Lots, lot, weigh
from sluice_streaming.messages import Delivery, Message
from sluice_streaming.outcomes import Partly, Reject, Rest, Retry, Unavailable
from sluice_telemetry.subject import subject
from support.streams import until

JOB = "01890a5d-ac96-8000-8000-000000000000"
Work = Callable[[int], Awaitable[int | Message]]


def said(job: str, item: int) -> Message:
    return lot(DOCUMENT_SCRAPE, FetchDocuments(job=job, items=(item,)))


class Bench:
    """Lots over a script of items, and what they pass on."""

    def __init__(self, work: Work, **options: Any) -> None:
        self.work = work
        self.concluded: list[tuple[int, ...]] = []
        self.refused: set[int] = set()
        self.passed: list[tuple[list[int], list[int], int]] = []
        self.lots: Lots[FetchDocuments, int, int] = Lots(
            self.find, self.one, self.conclude, _again, **{"patience": 0.02, **options}
        )

    async def find(self, _job: str, items: Sequence[int]) -> Sequence[int | None]:
        return [None if item == 99 else item for item in items]

    async def one(self, _delivery: Delivery[FetchDocuments], item: int, _found: int) -> int | Message:
        return await self.work(item)

    async def conclude(self, job: str, made: Mapping[int, int]) -> Sequence[Message]:
        self.concluded.append(tuple(made))
        if self.refused & set(made):
            raise ValueError
        return [said(job, item) for item in made]

    async def handle(self, *items: int, job: str = JOB) -> list[int]:
        delivery = Delivery(FetchDocuments(job=job, items=items), None, 2, self.pass_on)
        return numbers(await self.lots.handle(delivery))

    async def pass_on(self, messages: Sequence[Message], rest: Sequence[Rest], done: int, /) -> None:
        self.passed.append((numbers(messages), numbers([it.message for it in rest]), done))


def numbers(messages: Sequence[Message]) -> list[int]:
    return [item for it in messages if isinstance(it.body, FetchDocuments) for item in it.body.items]


def _again(job: str, item: int) -> Message:
    return lot(DOCUMENT_FETCH, FetchDocuments(job=job, items=(item,)))


async def at_once(item: int) -> int:
    return item


class Pairs:
    """Works on a lot's items in groups, as a script says."""

    def __init__(self, *groups: tuple[int, ...], work: Callable[[list[int]], Awaitable[Any]]) -> None:
        self.wanted = groups
        self.script = work

    def groups(self, _found: Mapping[int, int | None]) -> Sequence[Sequence[int]]:
        return self.wanted

    async def work(self, _delivery: Delivery[FetchDocuments], found: Mapping[int, int]) -> Any:
        return await self.script(list(found))


async def test_whatever_is_logged_of_an_item_names_it_and_its_job() -> None:
    named = {}

    async def note(item: int) -> int:
        named[item] = subject()
        await asyncio.sleep(0)
        assert subject() == named[item], "others of the lot work meanwhile"
        return item

    await Bench(note).handle(1, 2, 3)
    assert named == {item: (JOB, item) for item in (1, 2, 3)}


async def test_what_is_ready_together_is_concluded_together_in_order() -> None:
    async def work(item: int) -> int:
        await asyncio.sleep(0 if item % 2 else 0.001)
        return item

    bench = Bench(work, patience=60.0)
    assert await bench.handle(4, 0, 3, 1) == [0, 1, 3, 4]
    assert bench.concluded == [(0, 1, 3, 4)]
    assert bench.passed == []


async def test_after_a_short_patience_what_is_ready_goes_on_and_the_rest_is_waited_for() -> None:
    slow = asyncio.Event()

    async def work(item: int) -> int:
        if item == 1:
            await slow.wait()
        if item == 2:
            raise Retry("source_timeout")
        return item

    bench = Bench(work)
    handling = asyncio.create_task(bench.handle(0, 1, 2, 3))
    await until(lambda: bool(bench.passed))
    assert bench.passed == [([0, 3], [2], 3)]
    assert not handling.done()
    slow.set()
    assert await handling == [1]


async def test_a_group_is_done_in_one_go_and_what_it_leaves_out_alone() -> None:
    alone: list[int] = []

    async def work(item: int) -> int:
        alone.append(item)
        return item

    async def several(items: list[int]) -> Mapping[int, int | Message]:
        return {item: said(JOB, 50) if item == 3 else item for item in items if item != 1}

    bench = Bench(work, patience=60.0, together=Pairs((0, 1, 3), (4, 5), work=several))
    assert await bench.handle(*range(6)) == [50, *(0, 1, 2, 4, 5)]
    assert sorted(alone) == [1, 2]
    assert bench.concluded == [(0, 1, 2, 4, 5)], "all together, in order"


async def test_a_group_that_fails_fails_each_of_its_items() -> None:
    async def several(items: list[int]) -> Mapping[int, int]:
        raise Retry("source_throttled", after=3.0)

    bench = Bench(at_once, together=Pairs((0, 2), work=several))
    with pytest.raises(Partly) as caught:
        await bench.handle(0, 1, 2)
    assert numbers(caught.value.messages) == [1]
    assert [numbers([it.message]) for it in caught.value.rest] == [[0], [2]]


async def test_a_group_that_waits_holds_up_nobody_and_is_given_up_at_the_time_limit() -> None:
    async def several(items: list[int]) -> Mapping[int, int]:
        await asyncio.Event().wait()
        return {}

    bench = Bench(at_once, together=Pairs((0, 2), work=several), time_limit=0.1)
    with pytest.raises(Partly) as caught:
        await bench.handle(0, 1, 2)
    assert bench.passed == [([1], [], 1)]
    assert [
        (numbers([it.message]), it.why.code) for it in caught.value.rest if isinstance(it.why, Retry)
    ] == [
        ([0], "time_limit"),
        ([2], "time_limit"),
    ]


async def test_what_a_group_has_done_goes_on_while_what_it_left_out_is_waited_for() -> None:
    slow = asyncio.Event()

    async def work(item: int) -> int:
        await slow.wait()
        return item

    async def several(items: list[int]) -> Mapping[int, int]:
        return {0: 0}

    bench = Bench(work, together=Pairs((0, 1, 99), work=several))
    handling = asyncio.create_task(bench.handle(0, 1, 99))
    await until(lambda: bool(bench.passed))
    assert bench.passed == [([0], [99], 2)]
    slow.set()
    assert await handling == [1]


async def test_items_fail_alone_each_with_its_reason() -> None:
    async def work(item: int) -> int | Message:
        errors: dict[int, BaseException] = {
            1: Retry("source_throttled", after=3.0),
            2: Reject("no"),
            3: KeyError(),
            4: asyncio.CancelledError(),
        }
        if item in errors:
            raise errors[item]
        return said(JOB, 50) if item == 5 else item

    bench = Bench(work)
    with pytest.raises(Partly) as caught:
        await bench.handle(0, 1, 2, 3, 4, 5, 99)
    assert numbers(caught.value.messages) == [50, 0]
    assert [(numbers([it.message]), type(it.why)) for it in caught.value.rest] == [
        ([1], Retry),
        ([2], Reject),
        ([3], KeyError),
        ([4], asyncio.CancelledError),
        ([99], Reject),
    ]


async def test_a_lot_of_one_is_as_a_message_of_its_own() -> None:
    async def work(item: int) -> int:
        if item:
            raise Retry("source_throttled")
        return item

    bench = Bench(work)
    assert await bench.handle(0) == [0]
    with pytest.raises(Retry):
        await bench.handle(1)
    with pytest.raises(Reject):
        await bench.handle(99)


async def test_what_cannot_be_concluded_together_is_concluded_one_by_one() -> None:
    bench = Bench(at_once)
    bench.refused = {1}
    with pytest.raises(Partly) as caught:
        await bench.handle(0, 1, 2)
    assert numbers(caught.value.messages) == [0, 2]
    assert [(numbers([it.message]), type(it.why)) for it in caught.value.rest] == [([1], ValueError)]
    assert bench.concluded == [(0, 1, 2), (0,), (1,), (2,)]


async def test_what_is_away_for_one_is_waited_for_with_all_once_the_others_are_done() -> None:
    async def work(item: int) -> int:
        if item == 1:
            raise Unavailable("objects")
        await asyncio.sleep(0.1)
        return item

    bench = Bench(work, patience=60.0)
    with pytest.raises(Unavailable):
        await bench.handle(0, 1, 2)
    assert bench.concluded == [(0, 2)]


@pytest.mark.parametrize("items", [(7,), (0, 7)])
async def test_an_item_that_takes_too_long_is_tried_again_and_its_work_ends(items: tuple[int, ...]) -> None:
    ended: list[int] = []

    async def work(item: int) -> int:
        if item == 7:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(item)
        return item

    bench = Bench(work, time_limit=0.05)
    with pytest.raises((Partly, Retry)) as caught:
        await bench.handle(*items)
    why = caught.value.rest[0].why if isinstance(caught.value, Partly) else caught.value
    assert isinstance(why, Retry)
    assert why.code == "time_limit"
    assert ended == [7]
    assert bench.concluded == ([(0,)] if 0 in items else [])


async def test_a_lot_that_is_cancelled_leaves_no_work_behind() -> None:
    running: set[int] = set()

    async def work(item: int) -> int:
        running.add(item)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(item)
        return item

    handling = asyncio.create_task(Bench(work).handle(0, 1, 2))
    await until(lambda: len(running) == 3)
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling
    assert running == set()


async def test_no_more_items_are_worked_on_than_there_is_room_for() -> None:
    now: set[int] = set()
    most = 0

    async def work(item: int) -> int:
        nonlocal most
        now.add(item)
        most = max(most, len(now))
        await asyncio.sleep(0)
        now.discard(item)
        return item

    assert await Bench(work, patience=60.0, at_once=3).handle(*range(10)) == list(range(10))
    assert most == 3


@pytest.mark.parametrize(
    ("job", "items"),
    [(JOB, ()), (JOB, (0, -1)), (JOB, (2**31,)), ("x", (0, 1)), (JOB, tuple(range(MOST_IN_LOT + 1)))],
)
async def test_what_names_no_items_is_refused(job: str, items: tuple[int, ...]) -> None:
    bench = Bench(at_once)
    with pytest.raises(Reject):
        await bench.handle(*items, job=job)
    assert bench.concluded == []


def test_a_lot_weighs_as_much_as_it_has_items() -> None:
    assert [weigh(FetchDocuments(job=JOB, items=items)) for items in ((), (4,), (1, 2, 3))] == [1, 1, 3]


@given(st.sets(st.integers(0, 999_999_999), max_size=MOST_IN_LOT, min_size=1))
def test_items_are_written_so_that_they_are_read_as_they_were(items: set[int]) -> None:
    assert items_of_text(items_text(items)) == tuple(sorted(items))


@pytest.mark.fuzz
@given(st.text(alphabet="0123456789-,", max_size=40))
def test_no_text_names_more_items_than_a_lot_has(text: str) -> None:
    assert len(items_of_text(text)) <= MOST_IN_LOT


@pytest.mark.parametrize("text", ["", "x", "1-", "-1", "5-3", "0-100", "0-99,100", "\u0661", "1,,2"])
def test_a_text_that_names_no_lot_names_nothing(text: str) -> None:
    assert items_of_text(text) == ()
