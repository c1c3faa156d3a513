"""Which Provenance resources an export holds.

A Provenance belongs to what it is about, not to a patient of its own (Bulk Data Access 2.0.0, "Query
Parameters"): without `includeAssociatedData` a patient-level export has those about any resource in a
patient's compartment; `RelevantProvenanceResources` gives all about a resource that is returned,
`LatestProvenanceResources` of these only the most recent about each. Where an export is limited to some
patients, those Provenance resources are looked at that name one of them as a target, so that the export costs
in proportion to its patients. A patient's block (`organizeOutputBy`) has the Provenance that names the
patient and is about something in the block: what has no reference to the patient may be left out (Bulk Data
Access 3.0.0, "Bulk Data Output File Organization").
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from msgspec import Struct

from sluice_contracts.exports import Associated, ExportLevel
from sluice_exporter.plan import JobFacts, PartKind, PartPlan, PlannedScope
from sluice_exporter.scope import Scope, Scopes
from sluice_exporter.store import StorePlanner, StoreReader
from sluice_fhir.stored import decoded, element
from sluice_storage.resources.model import Window

PROVENANCE = "Provenance"
GROUP = "Group"
_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,48})/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_NEVER = datetime(1, 1, 1, tzinfo=UTC)

Target = tuple[str, str]
"""Type and id of what a Provenance is about."""


class Targets(Protocol):
    """Finds which resources an export is about."""

    async def among(
        self, wanted: set[Target], window: Window, scope: Scope, bodies: frozenset[str]
    ) -> dict[Target, bytes | None]:
        """Give those of the resources that are in the window and the scope, with the bodies of some types."""


class Ranking(Protocol):
    """Finds the most recent Provenance about each target, however many there are."""

    async def add(self, rows: Sequence[tuple[str, datetime, str]]) -> None:
        """Take note of targets, when a Provenance about each was recorded, and its id."""

    async def choose(self) -> None:
        """Say that all is noted."""

    async def chosen(self, ids: Sequence[str]) -> set[str]:
        """Give those of the ids that are the most recent for some target."""


class _Reference(Struct):
    reference: str | None = None


class _Id(Struct):
    id: str = ""


class _View(Struct):
    id: str = ""
    recorded: str = ""
    target: list[_Reference] = []


_decode_view = msgspec.json.Decoder(_View).decode
_id_of = msgspec.json.Decoder(_Id).decode


@dataclass(frozen=True, slots=True)
class Rule:
    """Which targets count: in the scope of their type, in this window, matching their type's filter.

    `scopes` are by types, None for all; no type is in two of them. `groups` are the only Group resources that
    count, None: all.
    """

    scopes: tuple[tuple[frozenset[str] | None, Scope], ...]
    window: Window
    matches: dict[str, Callable[[bytes], bool]]
    groups: frozenset[str] | None = None


async def plan_provenance(
    planner: StorePlanner,
    facts: JobFacts,
    scopes: Scopes,
    asked: Sequence[tuple[Scope, Sequence[str]]],
    part_bytes: int,
) -> list[PartPlan]:
    """Give the parts with Provenance resources; `asked` are the types that are exported, by scope."""
    request = facts.request
    associated = request.include_associated
    scope = scopes.of(PROVENANCE)
    if scope is None or (associated is None and not any(PROVENANCE in types for _, types in asked)):
        return []
    everywhere = request.level is ExportLevel.PATIENT and scope.patients is None
    window = facts.window if associated is None else Window(facts.snapshot)
    if scope.patients is None:
        found = await planner.parts([PROVENANCE], window, part_bytes=part_bytes)
    else:
        found = await planner.patient_parts([PROVENANCE], scope.patients, window, part_bytes=part_bytes)
    kind = PartKind.PROVENANCE if associated is not None or everywhere else PartKind.RESOURCES
    if associated is None:
        return [PartPlan(kind=kind, type=PROVENANCE, parts=(part,)) for part in found]
    about = tuple(PlannedScope(tuple(types), held.patients) for held, types in asked)
    if associated is Associated.LATEST_PROVENANCE or any(each.patients is not None for each in about):
        # Whatever needs to know of all of them, or of all patients, is one part.
        whole = PartPlan(kind=kind, type=PROVENANCE, parts=tuple(found), scopes=about)
        return [whole] if found else []
    return [PartPlan(kind=kind, type=PROVENANCE, parts=(part,), scopes=about) for part in found]


class ProvenanceReader:
    """Reads the Provenance resources of a part that a rule lets through.

    Parameters
    ----------
    reader, targets
        The resource store.
    ranking
        Opens a ranking for one part.
    """

    def __init__(
        self,
        reader: StoreReader,
        targets: Targets,
        ranking: Callable[[], AbstractAsyncContextManager[Ranking]],
    ) -> None:
        self._reader = reader
        self._targets = targets
        self._ranking = ranking

    async def lines(
        self, plan: PartPlan, window: Window, rule: Rule, *, latest: bool
    ) -> AsyncGenerator[list[bytes]]:
        """Give the lines, some at a time."""
        if not latest:
            async with aclosing(self._candidates(plan, window, rule)) as candidates:
                async for some in candidates:
                    yield [line for line, _, about in some if about]
            return
        async with self._ranking() as ranking:
            async with aclosing(self._candidates(plan, window, rule)) as candidates:
                async for some in candidates:
                    rows = [
                        (f"{type_}/{id_}", _instant(view.recorded), view.id)
                        for _, view, about in some
                        for type_, id_ in sorted(about)
                    ]
                    await ranking.add(rows)
                    # Nothing is given yet, but whoever waits may look whether to go on.
                    yield []
            await ranking.choose()
            for part in plan.parts:
                async with aclosing(self._reader.lines(part, window)) as stream:
                    async for lines in stream:
                        ids = [_decode(line).id for line in lines]
                        chosen = await ranking.chosen(ids)
                        yield [line for line, id_ in zip(lines, ids, strict=True) if id_ in chosen]

    async def _candidates(
        self, plan: PartPlan, window: Window, rule: Rule
    ) -> AsyncGenerator[list[tuple[bytes, _View, set[Target]]]]:
        for part in plan.parts:
            async with aclosing(self._reader.lines(part, window)) as stream:
                async for lines in stream:
                    views = [_decode(line) for line in lines]
                    abouts = [_targets(view) for view in views]
                    there = await self._there(set().union(*abouts), rule)
                    yield [
                        (line, view, about & there)
                        for line, view, about in zip(lines, views, abouts, strict=True)
                    ]

    async def _there(self, wanted: set[Target], rule: Rule) -> set[Target]:
        found: dict[Target, bytes | None] = {}
        for types, scope in rule.scopes:
            own = {target for target in wanted if types is None or target[0] in types}
            own = {
                (type_, id_)
                for type_, id_ in own
                if type_ != GROUP or rule.groups is None or id_ in rule.groups
            }
            if own:
                found |= await self._targets.among(own, rule.window, scope, frozenset(rule.matches))
        return {
            target
            for target, body in found.items()
            if body is None or target[0] not in rule.matches or rule.matches[target[0]](body)
        }


class BlockProvenance:
    """Chooses the Provenance resources of patients' blocks, where `includeAssociatedData` asks for some.

    It is shown a block's resources in their order, Provenance last, and told when the block ends. It holds
    the names of what is in one block, and no more of its Provenance than is given.

    Parameters
    ----------
    latest
        Only the most recent about each resource.
    """

    def __init__(self, *, latest: bool) -> None:
        self._latest = latest
        self._returned: set[Target] = set()
        self._chosen: dict[Target, tuple[datetime, str, bytes]] = {}

    def returned(self, type_: str, lines: Sequence[bytes]) -> None:
        """Take note of what the block has."""
        self._returned.update((type_, _id_of(line).id) for line in lines)

    def told(self, lines: Sequence[bytes]) -> list[bytes]:
        """Give those of the Provenance resources that the block has, unless only its end will tell."""
        found: list[bytes] = []
        for line in lines:
            view = _decode(line)
            about = _targets(view) & self._returned
            if about and not self._latest:
                found.append(line)
            elif about:
                self._rank(about, _instant(view.recorded), view.id, line)
        return found

    def end(self) -> list[bytes]:
        """Give the block's Provenance resources that were not given yet, and go on to another block."""
        left = {id_: line for _, id_, line in self._chosen.values()}
        self._returned.clear()
        self._chosen.clear()
        return list(left.values())

    def _rank(self, about: set[Target], recorded: datetime, id_: str, line: bytes) -> None:
        for target in about:
            best = self._chosen.get(target)
            if best is None or recorded > best[0] or (recorded == best[0] and id_ < best[1]):
                self._chosen[target] = (recorded, id_, line)


def _decode(line: bytes) -> _View:
    try:
        return _decode_view(line)
    except msgspec.ValidationError:
        return _decode_loosely(line)


def _decode_loosely(line: bytes) -> _View:
    """Read one some element of which has another shape than R4 gives it: that counts for nothing."""
    found = decoded(line) or {}
    recorded = found.get("recorded")
    targets = [
        _Reference(reference)
        for target in element(found, "target")
        for reference in element(target, "reference")
        if type(reference) is str
    ]
    return _View(_id_of(line).id, recorded if type(recorded) is str else "", targets)


def _targets(view: _View) -> set[Target]:
    matches = (_REFERENCE.fullmatch(each.reference or "") for each in view.target)
    return {(match[1], match[2]) for match in matches if match is not None and match[1] != PROVENANCE}


def _instant(text: str) -> datetime:
    try:
        found = msgspec.convert(text, datetime)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (msgspec.ValidationError, OverflowError):
        return _NEVER  # none, or one that its zone takes beyond all years
