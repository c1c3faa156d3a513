"""What a token may see: the grants of whom it speaks for, narrowed by its scopes.

Both must permit a resource: a grant its patients and its type, a scope its type and, where the scope has
search parameters, what they find. Grants add up, type by type; nothing here makes one of another's patients
and its own types.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sluice_contracts.exports import ExportAccess, ExportLevel, Reach, TypeFilter
from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.measures.intake import ARTIFACTS
from sluice_fhir.search import Filter, SearchError, compile_filter
from sluice_security.export_scopes import Permission, permission
from sluice_security.scopes import Scopes
from sluice_storage.access.covering import Patients, covers, patients_of
from sluice_storage.access.model import Grant

OPS_READING = ("ops/measures", "ops/resources")
"""Operators' scopes that let see Measures, Libraries, ValueSets and CodeSystems."""


@dataclass(frozen=True, slots=True)
class View:
    """What a token may see of one type.

    Parameters
    ----------
    all_patients
        Everything; else only what is in the compartments of the patients in `groups`.
    groups
        Ids of groups.
    filters
        Searches of which a resource must satisfy one; none: it need not.
    """

    all_patients: bool
    groups: tuple[str, ...]
    filters: tuple[Filter, ...]

    def satisfied(self, resource: dict[str, Any]) -> bool:
        """Say whether the scopes' searches let a decoded resource pass."""
        return not self.filters or any(each(resource) for each in self.filters)


def sees_artifacts(scopes: Scopes, name: str) -> bool:
    """Say whether a token is an operator's that may see all of a type, because measures consist of it."""
    return name in ARTIFACTS and any(scope in scopes for scope in OPS_READING)


def view_of(grants: Iterable[Grant], scopes: Scopes, name: str, letter: str) -> View | None:
    """Give what a token may see of a type by one interaction; None: nothing of it.

    What measures consist of is about no patient: operators who store it see it.

    Parameters
    ----------
    letter
        Of SMART's scopes: `r` for reading by id, `s` for searching.
    """
    if sees_artifacts(scopes, name):
        return View(all_patients=True, groups=(), filters=())
    found = permission(scopes, name, letter) if name in RESOURCE_TYPES else None
    permitted = usable({} if found is None else {name: found})
    patients = patients_of(tuple(grants), name) if permitted else None
    if patients is None:
        return None
    limits = limits_of(permitted, [name])
    return View(*patients, tuple(compile_filter(limit.type, limit.query) for limit in limits))


def resolve(
    grants: Iterable[Grant],
    level: ExportLevel,
    group: str | None,
    permitted: Mapping[str, Permission],
    requested: Collection[str] | None = None,
) -> ExportAccess | None:
    """Give what an export may hold.

    Parameters
    ----------
    grants
        Those that count now.
    level, group
        Where it is asked, and for which group. The group need not exist: who may see all patients may see any
        that does.
    permitted
        The types that the token's scopes permit.
    requested
        The only types asked for; None: all.

    Returns
    -------
    ExportAccess or None
        At the group level None if no grant covers the group: it does not exist for the subject. Elsewhere a
        subject without grants may hold an export of nothing.
    """
    permitted = usable(permitted)
    types = [name for name in permitted if requested is None or name in requested]
    counting = tuple(grants)
    if level is ExportLevel.GROUP:
        counting = tuple(grant for grant in counting if grant.all_patients or grant.group == group)
        if group is None or not counting:
            return None
        covered = tuple(name for name in types if any(covers(grant, name) for grant in counting))
        # The patients are the group's, whoever else may be seen, and so is the one Group that is told of.
        return ExportAccess(groups=(group,), types=covered, limits=limits_of(permitted, covered))
    by_patients: dict[Patients, list[str]] = {}
    for name in types:
        patients = patients_of(counting, name)
        if patients is not None:
            by_patients.setdefault(patients, []).append(name)
    return _union(by_patients, permitted)


def _union(by_patients: Mapping[Patients, list[str]], permitted: Mapping[str, Permission]) -> ExportAccess:
    reaches = tuple(
        Reach(all_patients=everybody, groups=groups, types=tuple(names))
        for (everybody, groups), names in by_patients.items()
    )
    covered = tuple(name for names in by_patients.values() for name in names)
    return ExportAccess(
        all_patients=any(reach.all_patients for reach in reaches),
        groups=tuple(sorted({group for reach in reaches for group in reach.groups})),
        types=covered,
        narrower=reaches if len(reaches) > 1 else (),
        limits=limits_of(permitted, covered),
    )


def usable(permitted: Mapping[str, Permission]) -> dict[str, Permission]:
    """Leave out what scopes permit only by searches that cannot be evaluated here: it is not permitted."""
    found = {}
    for name, each in permitted.items():
        limits = tuple(limit for limit in each.limits if _evaluable(name, limit))
        if limits:
            found[name] = Permission(limits)
    return found


def _evaluable(name: str, limit: tuple[str, ...]) -> bool:
    try:
        compile_filter(name, "&".join(limit))
    except SearchError:
        return False
    return True


def limits_of(permitted: Mapping[str, Permission], types: Iterable[str]) -> tuple[TypeFilter, ...]:
    """Give the searches that scopes limit these types to; a type that is not limited has none."""
    return tuple(
        TypeFilter(type=name, query="&".join(limit))
        for name in types
        if not permitted[name].unlimited
        for limit in permitted[name].limits
    )
