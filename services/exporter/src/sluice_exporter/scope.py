"""What an export is about: the request and the access, both, as patients and types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest, Reach
from sluice_exporter.store import StoreGroups
from sluice_fhir.compartments import COMPARTMENT_TYPES


@dataclass(frozen=True, slots=True)
class Scope:
    """What an export is about.

    Parameters
    ----------
    patients
        The only patients whose compartments it is about; None: not limited to some.
    compartment
        Where patients are not limited: only what is in the compartment of any.
    """

    patients: tuple[str, ...] | None
    compartment: bool

    def holds(self, type_: str) -> bool:
        """Tell whether there can be resources of the type in it."""
        return type_ in COMPARTMENT_TYPES or not (self.compartment or self.patients is not None)


class Scopes:
    """What an export is about, type by type: grants may give different types of different patients.

    Parameters
    ----------
    found
        Each reach of the access with its scope; no type is in two of them.
    """

    def __init__(self, found: Sequence[tuple[Reach, Scope]]) -> None:
        self._found = tuple(found)

    def of(self, type_: str) -> Scope | None:
        """Give the scope of a type; None: nothing of it may be seen."""
        for reach, scope in self._found:
            if reach.types is None or type_ in reach.types:
                return scope
        return None

    def sorted(self, types: Iterable[str]) -> list[tuple[Scope, list[str]]]:
        """Give the types by scope, without those of which there can be nothing in theirs."""
        found: list[tuple[Scope, list[str]]] = []
        wanted = list(types)
        for reach, scope in self._found:
            own = [type_ for type_ in wanted if reach.types is None or type_ in reach.types]
            if held := [type_ for type_ in own if scope.holds(type_)]:
                found.append((scope, held))
        return found


async def scopes_of(request: ExportRequest, access: ExportAccess, groups: StoreGroups) -> Scopes:
    """Find the patients that are both asked for and permitted, as groups are now.

    A subject that may see groups only gets what is in their patients' compartments, at whatever level it
    asks: what is about nobody in particular (organizations, practitioners) is then not part of its export.
    """
    compartment = request.level is not ExportLevel.SYSTEM
    return Scopes(
        [(reach, Scope(await _patients(request, reach, groups), compartment)) for reach in access.reaches]
    )


async def _patients(request: ExportRequest, reach: Reach, groups: StoreGroups) -> tuple[str, ...] | None:
    limits: list[set[str]] = []
    if request.level is ExportLevel.GROUP:
        asked = request.group or ""
        permitted = reach.all_patients or asked in reach.groups
        limits.append(await _members([asked], groups) if permitted else set())
    elif not reach.all_patients:
        limits.append(await _members(reach.groups, groups))
    if request.patients is not None:
        limits.append(set(request.patients))
    return tuple(sorted(set.intersection(*limits))) if limits else None


async def _members(ids: Iterable[str], groups: StoreGroups) -> set[str]:
    return {member.patient for group in ids for member in await groups.members(group)}


def types_of(present: Iterable[str], request: ExportRequest, access: ExportAccess) -> list[str]:
    """Give those of the types in the store that are both asked for and permitted, in the same order."""
    asked = request.types
    return [
        type_ for type_ in present if (asked is None or type_ in asked) and access.reach_of(type_) is not None
    ]


def visible_groups(access: ExportAccess) -> frozenset[str] | None:
    """Give the ids of the Group resources that the subject may see; None: any.

    A Group is in the compartment of each of its members, and tells who else it has.
    """
    reach = access.reach_of("Group") or Reach()
    return None if reach.all_patients else frozenset(reach.groups)
