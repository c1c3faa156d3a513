"""What grants let see, and whether that is still all that an export may hold."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sluice_contracts.exports import ExportAccess, Reach
from sluice_storage.access.model import Grant

Patients = tuple[bool, tuple[str, ...]]
"""All patients or not, and else which groups'."""


def covers(grant: Grant, type_: str | None) -> bool:
    """Say whether a grant is about a type; None: about whatever type there is."""
    return grant.types is None or type_ in grant.types


def patients_of(grants: Iterable[Grant], type_: str | None) -> Patients | None:
    """Give whose resources of a type (None: of all) the grants let see; None: nobody's."""
    covering = [grant for grant in grants if covers(grant, type_)]
    if any(grant.all_patients for grant in covering):
        return True, ()
    groups = tuple(sorted({grant.group for grant in covering if grant.group is not None}))
    return (False, groups) if groups else None


# Every poll asks, and an access may name all types there are.
@lru_cache(maxsize=1024)
def still_granted(grants: tuple[Grant, ...], access: ExportAccess) -> bool:
    """Say whether grants that count now let see all that an export may hold."""
    return all(
        _within(reach, patients_of(grants, type_))
        for reach in access.reaches
        for type_ in ((None,) if reach.types is None else reach.types)
    )


def _within(reach: Reach, patients: Patients | None) -> bool:
    if patients is None:
        return False
    everybody, groups = patients
    return everybody or (not reach.all_patients and set(reach.groups) <= set(groups))
