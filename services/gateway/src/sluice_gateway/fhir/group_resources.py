"""Groups that operators manage, as the Group resources (R4) that clients look for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sluice_storage.resources.model import Group, Member, Stored

SUBSETTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}


def version_of(group: Group) -> int:
    """Give a number that is higher after every change of the group."""
    return int(group.updated.timestamp() * 1000)


def group_resource(group: Group, members: Sequence[Member] | None) -> Stored:
    """Write a group as a resource; without `members` it tells their number, and that they are left out."""
    meta: dict[str, Any] = {"versionId": str(version_of(group)), "lastUpdated": group.updated}
    shown: dict[str, Any] = {
        "resourceType": "Group",
        "id": group.id,
        "meta": meta,
        "active": True,
        "type": "person",
        "actual": True,
        "name": group.name,
        "quantity": group.members,
    }
    if members is None:
        meta["tag"] = [SUBSETTED]
    elif members:
        shown["member"] = [_member(member) for member in members]
    return Stored(
        type="Group",
        id=group.id,
        version=version_of(group),
        updated=group.updated,
        deleted=False,
        body=msgspec.json.encode(shown),
        patients=frozenset(),
    )


def _member(member: Member) -> dict[str, Any]:
    return {"entity": {"reference": f"Patient/{member.patient}"}, "period": {"start": member.since}}
