"""Lag is told only where a group's offsets are known: none known is not the same as none committed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from sluice_streaming.outcomes import Unavailable
from sluice_streaming.topics_lag import committed

PLACES = [TopicPartition("t", 0), TopicPartition("t", 1)]


class Admin:
    """Answers as aiokafka does."""

    def __init__(self, found: Mapping[TopicPartition, int]) -> None:
        self.found = found

    async def list_consumer_group_offsets(
        self, group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        return {place: OffsetAndMetadata(offset, "") for place, offset in self.found.items()}


async def test_a_group_that_its_broker_still_loads_has_no_offsets_that_could_be_told() -> None:
    with pytest.raises(Unavailable):
        await committed(Admin({}), "g", PLACES)


async def test_a_partition_without_an_offset_is_told_as_that() -> None:
    known = {PLACES[0]: 7, PLACES[1]: -1}
    assert await committed(Admin(known), "g", PLACES) == known
