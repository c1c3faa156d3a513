"""What is to be known of a load beside its content: what resources refer to, whose they are, what was there.

It is gathered while chunks are written, and kept for some of them together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from sluice_fhir.ndjson_resource import Resource
from sluice_fhir.references import mark_of
from sluice_storage.resources.writer import Written

_AT_ONCE = 30_000


class Noted(Struct):
    """What is to be known of what was written.

    `references` are what its resources refer to on the same server, as `Type/id`, `brought` the marks
    (`sluice_fhir.references.mark_of`) of those that are in the store now, `patients` those in whose
    compartments they are, `kept` the places, by type, of resources that were there as they are.
    """

    references: set[bytes] = set()
    brought: list[bytes] = []
    patients: set[str] = set()
    kept: dict[str, list[int]] = {}

    def add(self, resources: Iterable[Resource], mentions: set[bytes], written: Written) -> None:
        """Take note of a chunk."""
        self.references |= mentions
        self.brought += [mark_of(f"{resource.type}/{resource.id}".encode()) for resource in resources]
        self.patients.update([patient for resource in resources for patient in resource.patients])
        for type_, places in written.kept.items():
            self.kept.setdefault(type_, []).extend(places)

    @property
    def full(self) -> bool:
        """Whether it is time to keep it."""
        kept = sum(map(len, self.kept.values()))
        return len(self.references) + len(self.brought) + len(self.patients) + kept >= _AT_ONCE


class Noting(Protocol):
    """Keeps what is to be known of a load."""

    async def begin(self) -> None:
        """Hear that a load begins, before anything of it is written."""

    async def note(self, noted: Noted) -> None:
        """Keep it; the same may come again."""


class Notes:
    """Gathers what is noted of some chunks and has it kept together; without `noting` nothing is."""

    def __init__(self, noting: Noting | None) -> None:
        self._noting = noting
        self._noted = Noted()

    async def begin(self) -> None:
        """Hear that a load begins."""
        if self._noting is not None:
            await self._noting.begin()

    async def add(self, resources: Iterable[Resource], mentions: set[bytes], written: Written) -> None:
        """Take note of a chunk that was written."""
        if self._noting is not None:
            self._noted.add(resources, mentions, written)
            if self._noted.full:
                await self.keep()

    async def keep(self) -> None:
        """Have everything kept that was noted since."""
        noted, self._noted = self._noted, Noted()
        if self._noting is not None and (noted.brought or noted.kept):
            await self._noting.note(noted)
