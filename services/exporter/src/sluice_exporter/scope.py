"""What an export is about: the request and the access, both, as patients and types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest
from sluice_exporter.store import StoreGroups


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


async def scope_of(request: ExportRequest, access: ExportAccess, groups: StoreGroups) -> Scope:
    """Find the patients that are both asked for and permitted, as groups are now.

    A subject that may see groups only gets what is in their patients' compartments, at whatever level it
    asks: what is about nobody in particular (organizations, practitioners) is then not part of its export.
    """
    limits: list[set[str]] = []
    if request.level is ExportLevel.GROUP:
        asked = request.group or ""
        permitted = access.all_patients or asked in access.groups
        limits.append(await _members([asked], groups) if permitted else set())
    elif not access.all_patients:
        limits.append(await _members(access.groups, groups))
    if request.patients is not None:
        limits.append(set(request.patients))
    patients = tuple(sorted(set.intersection(*limits))) if limits else None
    return Scope(patients, request.level is not ExportLevel.SYSTEM)


async def _members(ids: Iterable[str], groups: StoreGroups) -> set[str]:
    return {member.patient for group in ids for member in await groups.members(group)}


def types_of(present: Iterable[str], request: ExportRequest, access: ExportAccess) -> list[str]:
    """Give those of the types in the store that are both asked for and permitted, by name."""
    found = set(present)
    for limit in (request.types, access.types):
        if limit is not None:
            found &= set(limit)
    return sorted(found)


def visible_groups(access: ExportAccess) -> frozenset[str] | None:
    """Give the ids of the Group resources that the subject may see; None: any.

    A Group is in the compartment of each of its members, and tells who else it has.
    """
    return None if access.all_patients else frozenset(access.groups)
