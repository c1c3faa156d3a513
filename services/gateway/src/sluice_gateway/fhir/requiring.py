"""What measures need, from the artifacts that are stored; what was found out is kept as long as it holds.

Reading a measure's logic takes up to half a second of a processor, so it is done aside from the event loop,
for one measure at a time. What it comes to depends on the artifacts that were looked up for it, found or not.
They are noted with what they were then; as long as all look-ups would give the same, the answer stands.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sluice_fhir.measures.artifacts import Search, Wanted
from sluice_fhir.measures.canonicals import parse_canonical
from sluice_fhir.measures.datatypes import Measure, Period
from sluice_fhir.measures.problems import Finding, MeasureError, MeasureProblem
from sluice_fhir.measures.requirements import Requirements, find_measure, find_requirements
from sluice_fhir.references import is_id
from sluice_storage.resources.artifacts import Name, Stamp

_MOST_KEPT = 256
_TRIES = 3
T = TypeVar("T")
Trace = dict[Name, Stamp | None]


class ArtifactStore(Protocol):
    """Where artifacts are; see `sluice_storage.resources.artifacts.Artifacts`."""

    async def find(self, names: Sequence[Name]) -> list[Stamp | None]:
        """Give what each name means now."""

    async def body(self, stamp: Stamp) -> bytes | None:
        """Give the JSON of that state; None if it is not there any more."""


@dataclass(frozen=True, slots=True)
class _Kept:
    trace: Trace
    found: Requirements | MeasureError


class Requiring:
    """Finds out what measures need.

    Parameters
    ----------
    artifacts
        Where Measures, Libraries and ValueSets are.
    """

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts
        self._kept: OrderedDict[tuple[str, Period | None], _Kept] = OrderedDict()
        self._room = asyncio.Semaphore(1)

    async def measure(self, reference: str) -> Measure:
        """Give a Measure, by canonical URL or `Measure/id`.

        Raises
        ------
        MeasureError
            It is not here, or cannot be read.
        """
        return await self._aside(find_measure(reference), {})

    async def requirements(self, reference: str, period: Period | None = None) -> Requirements:
        """Give what a measure needs.

        Parameters
        ----------
        reference
            Its canonical URL, or `Measure/id`.
        period
            The measurement period; without it the measure's effective period.

        Raises
        ------
        MeasureError
            Something is missing (404) or cannot be used (422).
        """
        kept = await self._still((reference, period))
        if kept is None:
            async with self._room:
                # Whoever was before may have found it out.
                kept = await self._still((reference, period)) or await self._find_out(reference, period)
        if isinstance(kept.found, MeasureError):
            raise MeasureError.of(kept.found.findings)
        return kept.found

    async def require_value_sets(self, requirements: Requirements) -> None:
        """Make sure that all ValueSets that are named are here.

        Raises
        ------
        MeasureError
            404, with a finding for each that is not.
        """
        named = requirements.value_sets
        stamps = await self._artifacts.find([_name(Wanted("ValueSet", each)) for each in named])
        missing = [each for each, stamp in zip(named, stamps, strict=True) if stamp is None]
        if missing:
            raise MeasureError.of(Finding(MeasureProblem.VALUE_SET_MISSING, each) for each in missing)

    async def _still(self, key: tuple[str, Period | None]) -> _Kept | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if await self._artifacts.find(list(kept.trace)) != list(kept.trace.values()):
            return None
        if key in self._kept:
            self._kept.move_to_end(key)
        return kept

    async def _find_out(self, reference: str, period: Period | None) -> _Kept:
        trace: Trace = {}
        found: Requirements | MeasureError
        try:
            found = await self._aside(find_requirements(reference, period), trace)
        except MeasureError as error:
            found = error
        kept = _Kept(trace, found)
        self._kept[reference, period] = kept
        self._kept.move_to_end((reference, period))
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return kept

    async def _aside(self, search: Search[T], trace: Trace) -> T:
        """Run what needs artifacts: its work in a thread, its look-ups here."""
        body: bytes | None = None
        while True:
            step = await asyncio.to_thread(_advanced, search, body)
            if not isinstance(step, Wanted):
                return step.value
            body = await self._get(step, trace)

    async def _get(self, wanted: Wanted, trace: Trace) -> bytes | None:
        name = _name(wanted)
        for _ in range(_TRIES):
            (stamp,) = await self._artifacts.find([name])
            trace[name] = stamp
            body = None if stamp is None else await self._artifacts.body(stamp)
            if stamp is None or body is not None:
                return body
        # It changes faster than it can be read. That stamp is of the past, so nothing found with it is kept.
        return None


@dataclass(frozen=True)
class _End(Generic[T]):
    value: T


def _advanced(search: Search[T], body: bytes | None) -> Wanted | _End[T]:
    try:
        return search.send(body)
    except StopIteration as end:
        return _End(end.value)


def _name(wanted: Wanted) -> Name:
    id_ = wanted.canonical.removeprefix(wanted.kind + "/")
    if id_ != wanted.canonical and is_id(id_):
        return Name(wanted.kind, id=id_)
    canonical = parse_canonical(wanted.canonical)
    return Name(wanted.kind, url=canonical.url, version=canonical.version)
