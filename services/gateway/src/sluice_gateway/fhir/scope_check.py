"""Which resource types a token's scopes let an export hold, and whether they cover one that was begun.

Status and files are protected as the kick-off is: by a token whose scopes cover all that is exported (Bulk
Data Access 2.0.0, "Privacy and Security Considerations").
"""

from __future__ import annotations

from functools import lru_cache

from sluice_contracts.exports import ExportAccess
from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_gateway.authentication import challenge
from sluice_gateway.fhir.access import usable
from sluice_gateway.fhir.outcomes import Refusal, refused
from sluice_security.export_scopes import Permission, exportable
from sluice_security.scopes import Scopes
from sluice_security.tokens import Principal

_TYPES = tuple(sorted(RESOURCE_TYPES))


@lru_cache(maxsize=1024)
def permitted(scopes: Scopes) -> dict[str, Permission]:
    """Give what the scopes permit to export, by type; it must not be changed."""
    return usable(exportable(scopes, _TYPES))


def lacking(text: str, scope: str) -> Refusal:
    """Give the answer to a token whose scopes are not enough; `scope` is one that would be."""
    return refused(403, "forbidden", text, challenge("insufficient_scope", text.rstrip("."), scope))


def exporting(who: Principal) -> dict[str, Permission]:
    """Give what a token permits to export, by type.

    Raises
    ------
    Refusal
        403: it permits nothing.
    """
    found = permitted(who.scopes)
    if not found:
        raise lacking("The token's scopes permit no resource type to be exported.", "system/*.rs")
    return found


def check_covers(who: Principal, access: ExportAccess | None) -> None:
    """Refuse a token whose scopes do not cover an export of its own subject.

    Parameters
    ----------
    access
        What the export may hold; None: nothing is known of it yet.

    Raises
    ------
    Refusal
        403: a type, or some of its resources, is not covered.
    """
    exporting(who)
    if access is not None and not _covers(who.scopes, access):
        raise lacking("The token's scopes do not cover all that is exported.", "system/*.rs")


# Every poll asks, and an access may name all types there are.
@lru_cache(maxsize=1024)
def _covers(scopes: Scopes, access: ExportAccess) -> bool:
    found = permitted(scopes)
    return all(
        _covered(found.get(name), access.limits_of(name))
        for reach in access.reaches
        for name in (_TYPES if reach.types is None else reach.types)
    )


def _covered(permission: Permission | None, limits: tuple[str, ...]) -> bool:
    if permission is None:
        return False
    if permission.unlimited:
        return True
    # Every search that the export was limited to must be as narrow as one that the token permits.
    return bool(limits) and all(
        any(set(search) <= set(limit.split("&")) for search in permission.limits) for limit in limits
    )
