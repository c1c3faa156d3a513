"""Conflict resolution: what becomes of a batch of files in the folders they are for.

Pure: it is told what the folders hold and says what to write. What it needs to know beyond that it names, and
is asked again; so names are looked up for a whole batch at once.

The rules, for a name that its folder already holds:

- `SKIP`: the file stays out; the item's outcome names the entry that is there.
- `OVERWRITE`: a file that is there is deleted and the new one takes its name under an id of its own. A folder
  is never overwritten: the file is renamed.
- `AUTORENAME`: the first free of `_1_name.ext`, `_2_name.ext`… after the highest such number that the folder
  holds for this name.
- Whatever the rule, a name that another item of the same job took is treated as by `AUTORENAME`: two items of
  one job with one name never collide, and none of them is lost to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sluice_contracts.commands import ConflictResolution
from sluice_contracts.events import FileOutcome
from sluice_storage.catalogue.model import EntryKind
from sluice_storage.catalogue.naming import renamed

Place = tuple[str, str]
"""A folder's id and a name in it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that wants a place: of `job`, under `name` in `folder`; `entry` is the id it will have."""

    job: str
    folder: str
    name: str
    rule: ConflictResolution
    entry: str


@dataclass(frozen=True, slots=True)
class Occupant:
    """What a folder holds under a name; `job` is the import that brought it, if one did."""

    entry: str
    kind: EntryKind
    job: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one file.

    `entry` is the file's id, or for `skipped` that of the entry that is there; `number` is the one AUTORENAME
    put in front; `replaces` is the id of the file to delete.
    """

    outcome: FileOutcome
    entry: str
    name: str
    number: int | None = None
    replaces: str | None = None


@dataclass(slots=True)
class Folders:
    """What is known of the folders a batch goes to.

    `held` maps each place that was looked up to its occupant, or None if it is free; `highest` maps a place
    to the highest number by which AUTORENAME has renamed files that wanted it, 0 for none.
    """

    held: dict[Place, Occupant | None] = field(default_factory=dict)
    highest: dict[Place, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The places that must be looked up before the batch can be decided."""

    places: frozenset[Place]


def decide(batch: Sequence[Wanted], folders: Folders) -> list[Decision] | Unknown:
    """Decide the batch in its order, or say what else must be known for that."""
    planner = _Planner(folders.held, folders.highest)
    decisions = [planner.place(wanted) for wanted in batch]
    return Unknown(frozenset(planner.missing)) if planner.missing else decisions


class _Planner:
    def __init__(self, held: Mapping[Place, Occupant | None], highest: Mapping[Place, int]) -> None:
        self._held = dict(held)
        self._highest = dict(highest)
        self.missing: set[Place] = set()

    def place(self, wanted: Wanted) -> Decision:
        at = (wanted.folder, wanted.name)
        holder = self._holder(at)
        if holder is None:
            return self._take(at, wanted, Decision(FileOutcome.CREATED, wanted.entry, wanted.name))
        if holder.job != wanted.job:
            if wanted.rule is ConflictResolution.SKIP:
                return Decision(FileOutcome.SKIPPED, holder.entry, wanted.name)
            if wanted.rule is ConflictResolution.OVERWRITE and holder.kind is EntryKind.FILE:
                replaced = Decision(FileOutcome.REPLACED, wanted.entry, wanted.name, replaces=holder.entry)
                return self._take(at, wanted, replaced)
        return self._rename(at, wanted)

    def _rename(self, at: Place, wanted: Wanted) -> Decision:
        number = self._highest.get(at, 0) + 1
        while self._holder((wanted.folder, renamed(wanted.name, number))) is not None:
            number += 1
        self._highest[at] = number
        name = renamed(wanted.name, number)
        decision = Decision(FileOutcome.RENAMED, wanted.entry, name, number)
        return self._take((wanted.folder, name), wanted, decision)

    def _holder(self, at: Place) -> Occupant | None:
        if at not in self._held:
            # Taken for free until it is looked up, so that one pass finds most of what is missing.
            self.missing.add(at)
            self._held[at] = None
        return self._held[at]

    def _take(self, at: Place, wanted: Wanted, decision: Decision) -> Decision:
        self._held[at] = Occupant(wanted.entry, EntryKind.FILE, wanted.job)
        return decision
