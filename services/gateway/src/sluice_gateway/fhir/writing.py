"""Storing what is sent: who may, and what became of each entry.

Who may: operators with the scope `ops/resources`, of Measures, Libraries, ValueSets and CodeSystems also with
`ops/measures`; and clients whose token has the SMART scope of what they do (`system/Encounter.cu`), without
search parameters, together with a grant of all patients' resources of that type. A grant of a group is not
enough: storing a resource can take it out of one patient's data and put it into another's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from sluice_fhir.measures.entries import Action, Entry, Intake
from sluice_fhir.measures.intake import ARTIFACTS
from sluice_fhir.measures.intake_answer import Done
from sluice_fhir.measures.problems import Finding, MeasureProblem
from sluice_fhir.ndjson_resource import Resource, parse
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.scope_check import lacking
from sluice_gateway.fhir.starting import GrantReader
from sluice_security.tokens import Principal
from sluice_storage.access.model import Grant
from sluice_storage.resources.applying import Applied
from sluice_storage.resources.writer import Incoming, Key

OPS_ALL = "ops/resources"
OPS_ARTIFACTS = "ops/measures"
# A PUT creates what is not there.
_LETTERS = {Action.PUT: "cu", Action.CREATE: "c", Action.DELETE: "d"}
_AT_ONCE = 2


class ResourceWriter(Protocol):
    """Where resources are stored; see `sluice_storage.resources.applying.Applier`."""

    async def apply(self, resources: Sequence[Incoming], deletions: Iterable[Key] = ()) -> dict[Key, Applied]:
        """Store and delete, all or nothing; give what became of each."""


class Writing:
    """Stores what Bundles and submissions hold.

    Parameters
    ----------
    grants
        What is granted to whom.
    writer
        The resources.
    base
        The FHIR API's outside URL: absolute references below it are to resources here.
    """

    def __init__(self, grants: GrantReader, writer: ResourceWriter, base: str) -> None:
        self._grants = grants
        self._writer = writer
        self._base = base
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def store(self, who: Principal, intake: Intake) -> tuple[Intake, dict[int, Done | Finding]]:
        """Do what an intake asks for: a transaction as a whole, of a batch what the token permits.

        Returns
        -------
        tuple
            The intake, with what the token does not permit among the refused; and what became of the rest.

        Raises
        ------
        Refusal
            403: the token permits nothing of it, or not all of a transaction.
        """
        intake = await self._permitted(who, intake)
        async with self._room:
            rounds = await asyncio.to_thread(_rounds, intake.entries, self._base)
            done: dict[int, Done | Finding] = {}
            for entries, resources, deletions in rounds:
                applied = await self._writer.apply(resources, deletions)
                done |= _told(entries, applied)
        return intake, done

    async def _permitted(self, who: Principal, intake: Intake) -> Intake:
        wanted = {(entry.type, _LETTERS[entry.action]) for entry in intake.entries}
        if not wanted:
            return intake
        grants = await self._grants.of(who.client, who.subject)
        missing = {each for each in wanted if not may_write(who, grants, *each)}
        if missing and (intake.type == "transaction" or missing == wanted):
            raise _lacking(missing)
        entries, refused = [], dict(intake.refused)
        for entry in intake.entries:
            if (entry.type, _LETTERS[entry.action]) in missing:
                where = f"Bundle.entry[{entry.place}].request"
                refused[entry.place] = Finding(MeasureProblem.NOT_PERMITTED, where=where)
            else:
                entries.append(entry)
        return msgspec.structs.replace(intake, entries=tuple(entries), refused=refused)


def may_write(who: Principal, grants: Iterable[Grant], type_: str, letters: str) -> bool:
    """Say whether a token permits to do all of this (letters of SMART's scopes) to any resource of a type."""
    if OPS_ALL in who.scopes or (type_ in ARTIFACTS and OPS_ARTIFACTS in who.scopes):
        return True
    return all(f"system/{type_}.{letter}" in who.scopes for letter in letters) and any(
        grant.all_patients and (grant.types is None or type_ in grant.types) for grant in grants
    )


def _lacking(missing: Iterable[tuple[str, str]]) -> Refusal:
    types = sorted({type_ for type_, _ in missing})
    text = f"The token does not permit resources of these types to be stored or deleted: {', '.join(types)}."
    wanted = " ".join(f"system/{type_}.{letters}" for type_, letters in sorted(missing))
    return lacking(text, OPS_ARTIFACTS if ARTIFACTS.issuperset(types) else wanted)


_Round = tuple[list[Entry], list[Resource], list[Key]]


def _rounds(entries: Sequence[Entry], base: str) -> list[_Round]:
    """Read entries, in rounds in each of which no resource is named twice; a transaction has one."""
    rounds: list[_Round] = []
    seen: dict[Key, int] = {}
    for entry in entries:
        key = (entry.type, entry.id)
        number = seen.get(key, -1) + 1
        seen[key] = number
        if number == len(rounds):
            rounds.append(([], [], []))
        members, resources, deletions = rounds[number]
        members.append(entry)
        if entry.action is Action.DELETE:
            deletions.append(key)
        else:
            resources.append(parse(entry.body, base=base, expect=entry.type))
    return rounds


def _told(entries: Iterable[Entry], applied: dict[Key, Applied]) -> dict[int, Done | Finding]:
    done: dict[int, Done | Finding] = {}
    for entry in entries:
        became = applied.get((entry.type, entry.id))
        # To delete what is not there is no failure (R4 section 3.1.0.7).
        if became is None or entry.action is Action.DELETE:
            done[entry.place] = Done()
        else:
            done[entry.place] = Done(became.created, became.version, became.updated)
    return done
