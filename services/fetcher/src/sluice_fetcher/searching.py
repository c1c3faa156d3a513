"""Fetches several documents of a source in one go, from sources that say that they answer such a search."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sluice_contracts.errors import ItemError
from sluice_fhir.client import FetchedResource
from sluice_fhir.references import InvalidReferenceError, parse_reference
from sluice_fhir.searchset import finds_by_id
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure
from sluice_security.http_budget import Hold, MemoryBudget

DOCUMENT = "DocumentReference"

# Ids in one search: as many as a lot usually has, in an address of less than 4,000 characters.
_MOST = 50
# Bytes of a searchset: more of them would not fit beside those of other lots. Documents that hold their
# contents are read alone.
_LONGEST = 1024 * 1024
_KNOWN_SECONDS = 600.0
_PAUSE_SECONDS = 30.0


class Searcher(Protocol):
    """Searches sources; `sluice_fhir.client.FhirClient` does."""

    async def find(
        self, source: Source, kind: str, ids: Collection[str], *, limit: int, hold: Hold | None = None
    ) -> Mapping[str, FetchedResource]:
        """Give those of these resources that the source gives by one search, or raise `SourceFailure`."""

    async def get_json(self, source: Source, url: str, *, expected: str) -> FetchedResource:
        """Read the resource at an absolute URL on the source, or raise `SourceFailure`."""


@dataclass(slots=True)
class _Known:
    """How many documents one search of a source asks for, 0 for none, and until when (seconds) that holds."""

    revision: int
    most: int
    until: float


class Searching:
    """Searches for documents where that is known to work.

    A source is asked for its CapabilityStatement beside the first documents, and again from time to time. It
    only says what is worth trying: a search that fails, finds little or answers too much is followed by
    fewer documents at a time or by none, and whatever a search does not give is for the caller to read alone,
    so that each document fails with what its own read says.

    Parameters
    ----------
    client
        Searches.
    budget
        Bounds the bytes of answers in flight.
    clock
        Seconds, of any origin.
    """

    def __init__(
        self, client: Searcher, budget: MemoryBudget, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._budget = budget
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._learning: dict[str, asyncio.Task[None]] = {}

    async def read(self, source: Source, references: Mapping[int, str]) -> Mapping[int, FetchedResource]:
        """Give those documents that could be had by searching, by item; `references` are the items' own."""
        most = self._most(source)
        if most < 2:
            return {}
        wanted = _ids(source, references)
        found: dict[int, FetchedResource] = {}
        for ids in _cut(list(wanted), most):
            for name, resource in (await self._search(source, ids)).items():
                for item in wanted[name]:
                    found[item] = resource
        return found

    async def close(self) -> None:
        """Stop asking for CapabilityStatements."""
        tasks = list(self._learning.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _most(self, source: Source) -> int:
        known = self._known.get(source.id)
        if known is not None and known.revision != source.revision:
            known = None
        if (known is None or known.until <= self._clock()) and source.id not in self._learning:
            # It outlives the delivery that began it, and is about none.
            task = asyncio.get_running_loop().create_task(self._learn(source), context=contextvars.Context())
            self._learning[source.id] = task
            task.add_done_callback(lambda _: self._learning.pop(source.id))
        return known.most if known is not None else 0

    async def _learn(self, source: Source) -> None:
        url = f"{source.base_url}/metadata"
        try:
            statement = await self._client.get_json(source, url, expected="CapabilityStatement")
        except SourceFailure as failure:
            self._stop(source, _PAUSE_SECONDS if failure.retry else _KNOWN_SECONDS)
        else:
            most = _MOST if finds_by_id(statement.body, DOCUMENT) else 0
            self._note(source, most, _KNOWN_SECONDS)

    async def _search(self, source: Source, ids: Sequence[str]) -> Mapping[str, FetchedResource]:
        try:
            with self._budget.hold() as hold:
                found = await self._client.find(source, DOCUMENT, ids, limit=_LONGEST, hold=hold)
        except SourceFailure as failure:
            if failure.code is ItemError.DOCUMENT_TOO_LARGE:
                self._shrink(source, len(ids) // 2)
            elif failure.code is not ItemError.SOURCE_THROTTLED:
                self._stop(source, _PAUSE_SECONDS if failure.retry else _KNOWN_SECONDS)
            return {}
        if len(found) * 2 < len(ids):
            # Its pages are short, or it does not take several ids.
            self._shrink(source, len(found))
        return {name: it for name, it in found.items() if len(it.body) <= self._budget.free}

    def _shrink(self, source: Source, most: int) -> None:
        known = self._known[source.id]
        self._note(source, most, max(0.0, known.until - self._clock()))

    def _stop(self, source: Source, seconds: float) -> None:
        self._note(source, 0, seconds)

    def _note(self, source: Source, most: int, seconds: float) -> None:
        self._known[source.id] = _Known(source.revision, most, self._clock() + seconds)


def _ids(source: Source, references: Mapping[int, str]) -> dict[str, list[int]]:
    """Give the ids to search for, each with its items: of current versions below the base URL itself."""
    wanted: dict[str, list[int]] = {}
    for item, text in references.items():
        try:
            reference = parse_reference(text, DOCUMENT)
        except InvalidReferenceError:
            continue
        if reference.version is None and reference.base in (None, source.base_url):
            wanted.setdefault(reference.id, []).append(item)
    return wanted


def _cut(ids: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    pieces = (ids[start : start + most] for start in range(0, len(ids), most))
    # One alone is read as it always is.
    return (piece for piece in pieces if len(piece) > 1)
