"""A lane: what may be handled next, and when reading should pause."""

from __future__ import annotations

from collections.abc import Sequence

from sluice_contracts.commands import WritePart
from sluice_contracts.topics import RETRY_TIERS, Topic
from sluice_streaming.lane import HIGH, HIGH_BYTES, WINDOW, Lane
from sluice_streaming.memory import MemoryRecord
from sluice_streaming.messages import Delivery, Headers, Message, Partition
from sluice_streaming.step import Step


async def handle(_delivery: Delivery[WritePart]) -> Sequence[Message]:
    return ()


def lane(topic: str = "t", *, ordered: bool = False) -> Lane:
    declared = Topic(
        name="t",
        messages=WritePart,
        key="",
        producers=(),
        consumers=(),
        retries=RETRY_TIERS,
        ordered=ordered,
    )
    return Lane(Partition(topic, 0), Step(topic=declared, handle=handle))


def record(
    offset: int, key: bytes = b"k", value: bytes = b"v", headers: Headers = (), at: float = 0.0
) -> MemoryRecord:
    return MemoryRecord("t", 0, offset, key, value, headers, int(at * 1000))


def drain(some: Lane, now: float = 0.0) -> list[int]:
    taken = []
    while (found := some.take(now)) is not None:
        taken.append(found.offset)
    return taken


def test_records_leave_in_order_and_the_offset_follows_what_is_done() -> None:
    some, records = lane(), [record(n) for n in range(4)]
    some.add(records)
    assert drain(some) == [0, 1, 2, 3]
    offsets = [some.uncommitted]
    for done in (records[1], records[0]):
        some.finish(done)
        offsets.append(some.uncommitted)
    some.committed = 2
    offsets.append(some.uncommitted)
    assert offsets == [None, None, 2, None]


def test_a_key_is_handled_once_at_a_time_on_an_ordered_topic() -> None:
    some = lane(ordered=True)
    first, second, other = record(0, b"a"), record(1, b"a"), record(2, b"b")
    some.add([first, second, other])
    assert drain(some) == [0, 2]
    assert some.waiting == 1
    some.finish(first)
    assert drain(some) == [1]
    some.finish(other)
    assert some.uncommitted == 1
    some.finish(second)
    assert (some.uncommitted, some.waiting) == (3, 0)


def test_a_tiers_records_wait_for_the_head_to_be_due() -> None:
    some = lane("t.retry.10s")
    some.add([record(0, at=100), record(1, at=101)])
    assert drain(some, now=109.9) == []
    assert some.due() == 110.0
    assert drain(some, now=110.5) == [0]
    assert some.due() == 111.0
    assert drain(some, now=111.0) == [1]
    assert some.due() is None


def test_reading_pauses_at_many_records_or_at_many_bytes() -> None:
    some = lane()
    some.add([record(n) for n in range(HIGH - 1)])
    assert not some.full
    some.add([record(HIGH)])
    assert (some.full, some.low) == (True, False)
    drain(some)
    assert (some.full, some.low) == (False, True)
    some.add([record(HIGH + 1, value=bytes(HIGH_BYTES))])
    assert (some.full, some.low) == (True, False)
    drain(some)
    assert some.low


def test_one_slow_record_bounds_what_a_crash_would_repeat() -> None:
    some = lane()
    records = [record(n) for n in range(WINDOW + 10)]
    some.add(records)
    assert len(drain(some)) == WINDOW
    for done in records[1:WINDOW]:
        some.finish(done)
    assert drain(some) == []
    some.finish(records[0])
    assert drain(some) == list(range(WINDOW, WINDOW + 10))


def test_ordered_records_set_aside_still_count_as_waiting() -> None:
    some = lane(ordered=True)
    some.add([record(n, b"one") for n in range(HIGH + 1)])
    assert drain(some) == [0]
    assert some.full


def test_what_waits_longest_is_found_also_behind_its_key_and_not_before_it_is_due() -> None:
    some = lane(ordered=True)
    assert some.waiting_since() is None
    some.add([record(0, b"one"), record(1, b"one", at=20.0), record(2, b"two", at=30.0)])
    assert some.take(50.0) is not None
    assert some.waiting_since() == 20.0
    tier = lane("t.retry.10s")
    tier.add([record(0, at=20.0)])
    assert tier.waiting_since() == 30.0
