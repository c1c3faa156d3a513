"""What one reader who watches is still to be told."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct
from msgspec.json import Decoder
from prometheus_client import Counter

from sluice_contracts import wire
from sluice_gateway.all_jobs import AnyJobRow
from sluice_streaming.messages import Record

UNREADABLE = Counter("sluice_gateway_unreadable_events_total", "Records of watched jobs that are no event.")
_WORD = re.compile("[A-Za-z0-9]{0,100}")
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
MOST_HELD = 2000
"""Events that wait for one slow reader before it is cut off."""


class Told(NamedTuple):
    """An event: where it is on the log, its type and its JSON."""

    partition: int
    offset: int
    type: str
    data: bytes


class _Type(Struct):
    type: str = ""


_type_of: Decoder[_Type] = Decoder(_Type)


def told_of(record: Record) -> Told | None:
    """Give the event of a record, without reading more of it than its type; None if it is none."""
    data = record.value or b"{}"
    try:
        data.decode()
        kind = _type_of.decode(data).type
    except wire.UNREADABLE:
        UNREADABLE.inc()
        return None
    if _WORD.fullmatch(kind) is None:
        UNREADABLE.inc()
        return None
    # A stream of events has a line for each: between JSON's tokens a space says as much as a new line.
    return Told(record.partition, record.offset, kind, data.translate(_ONE_LINE))


class _Watch:
    def __init__(self) -> None:
        self.ended = False
        self._news = asyncio.Event()

    def end(self) -> None:
        """Let the reader go."""
        self.ended = True
        self._news.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()


class JobWatch(_Watch):
    """The events of one job.

    Parameters
    ----------
    began
        The offset of the first record that was not read when the watch began, by partition.
    """

    def __init__(self, began: dict[int, int]) -> None:
        super().__init__()
        self.began = began
        self._held: list[Told] = []

    def put(self, told: Told) -> None:
        """Add an event; too many of them end the watch."""
        if len(self._held) >= MOST_HELD:
            self.ended = True
        else:
            self._held.append(told)
        self._news.set()

    async def take(self, seconds: float) -> list[Told]:
        """Give what there is to tell; waits up to so many seconds for the first."""
        if not self._held and not self.ended:
            await self._wait(seconds)
        found, self._held = self._held, []
        return found


class JobsWatch(_Watch):
    """How those jobs stand that changed, of those that are wanted."""

    def __init__(self, wants: Callable[[AnyJobRow], bool]) -> None:
        super().__init__()
        self._wants = wants
        self._held: dict[str, AnyJobRow] = {}

    def put(self, row: AnyJobRow) -> None:
        """Add how a job stands, in place of how it stood; so a slow reader costs no more than its jobs."""
        if self._wants(row):
            self._held[row.job] = row
            self._news.set()

    async def take(self, seconds: float) -> list[AnyJobRow]:
        """Give what there is to tell; waits up to so many seconds for the first."""
        if not self._held and not self.ended:
            await self._wait(seconds)
        found, self._held = list(self._held.values()), {}
        return found
