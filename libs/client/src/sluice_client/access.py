"""Who may see whose data: grants, and groups of patients (operators)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from sluice_client.api import Api, step
from sluice_client.models import Page

_GRANTS, _GROUPS = "/v2/fhir/grants", "/v2/fhir/groups"
_PATIENTS_PER_CALL = 10_000
_MEMBERS_PER_PAGE = 1000


class Grant(Struct, frozen=True, kw_only=True):
    """Permission of a client or a user to see a group's patients' data, or all; `types` None is all types.

    `state` is `active`, `expired` or `revoked`.
    """

    id: str
    href: str
    client: str | None = None
    user: str | None = None
    group: str | None = None
    all_patients: bool = False
    types: list[str] | None = None
    state: str
    granted_by: str
    granted_on: datetime
    expires_on: datetime | None = None
    revoked_by: str | None = None
    revoked_on: datetime | None = None


class Group(Struct, frozen=True, kw_only=True):
    """A group of patients; `managed` is `api`, or `resource` if a Group resource says who is in it."""

    id: str
    href: str
    name: str
    managed: str
    members: int
    modified_on: datetime


class GroupMember(Struct, frozen=True, kw_only=True):
    """A patient in a group."""

    patient: str
    since: datetime


class MembersChanged(Struct, frozen=True, kw_only=True):
    """How many patients joined and left, how many are members now, and how many who joined are not stored."""

    added: int
    removed: int
    members: int
    not_in_store: int


class AccessCalls(Api):
    """What operators do about access; needs the scopes `ops/access` and `ops/groups`."""

    # -- grants

    def grants(
        self, *, grantee: str | None = None, group: str | None = None, ended: bool = False
    ) -> AsyncIterator[Grant]:
        """Go through grants, the newest first; with `ended` also those that are revoked or expired."""
        query = {"grantee": grantee, "group": group, "ended": "true" if ended else None}
        return self.pages(_GRANTS, Grant, query)

    async def grant(self, grant: str) -> Grant:
        """Give one grant."""
        return await self.get(f"{_GRANTS}/{step(grant)}", Grant)

    async def give_grant(
        self,
        *,
        client: str | None = None,
        user: str | None = None,
        group: str | None = None,
        all_patients: bool = False,
        types: Sequence[str] | None = None,
        expires_on: datetime | None = None,
    ) -> Grant:
        """Let a client or a user see the data of a group's patients, or of all.

        Parameters
        ----------
        client, user
            To whom: one of them.
        group, all_patients
            Whose data: one of them.
        types
            Of which resource types; None: all.
        expires_on
            The grant counts before this time only (aware).

        Examples
        --------
        >>> await sluice.give_grant(client="portal", group="trial", types=["Patient", "Observation"])
        """
        body: dict[str, Any] = {
            "client": client,
            "user": user,
            "group": group,
            "all_patients": all_patients,
            "types": None if types is None else list(types),
            "expires_on": expires_on,
        }
        return await self.call("POST", _GRANTS, Grant, body=body)

    async def revoke_grant(self, grant: str) -> None:
        """Take a grant back: from now on it gives nothing."""
        await self.send("DELETE", f"{_GRANTS}/{step(grant)}")

    # -- groups

    def groups(self, name: str | None = None) -> AsyncIterator[Group]:
        """Go through groups, those with `name` in their name."""
        return self.pages(_GROUPS, Group, {"name": name})

    async def group(self, group: str) -> Group:
        """Give one group."""
        return await self.get(f"{_GROUPS}/{step(group)}", Group)

    async def create_group(
        self, name: str, *, group: str | None = None, patients: Iterable[str] = ()
    ) -> Group:
        """Make a group, with the id `group` or one that is chosen.

        Patients beyond ten thousand join in further calls.
        """
        first, *others = _calls(patients) or [()]
        body = {"id": group, "name": name, "patients": list(first)}
        made = await self.call("POST", _GROUPS, Group, body=body)
        for some in others:
            await self._change(made.id, {"add": list(some)})
        return await self.group(made.id) if others else made

    async def replace_group(self, group: str, name: str, patients: Iterable[str]) -> Group:
        """Give a group this name and these patients, in one step; who stays keeps the time of joining.

        Raises
        ------
        ApiError
            There are more than ten thousand patients: `add_members` and `remove_members` take any number.
        """
        body = {"name": name, "patients": list(dict.fromkeys(patients))}
        return await self.call("PUT", f"{_GROUPS}/{step(group)}", Group, body=body)

    async def delete_group(self, group: str) -> None:
        """Delete a group; what is granted of it is revoked, its patients' data stay."""
        await self.send("DELETE", f"{_GROUPS}/{step(group)}")

    async def group_members(self, group: str) -> AsyncIterator[GroupMember]:
        """Go through a group's members, by id."""
        offset = 0
        while True:
            query = {"limit": _MEMBERS_PER_PAGE, "offset": offset}
            page = await self.get(f"{_GROUPS}/{step(group)}/members", Page[GroupMember], query)
            for member in page.items:
                yield member
            offset += len(page.items)
            if len(page.items) < _MEMBERS_PER_PAGE:
                return

    async def add_members(self, group: str, patients: Iterable[str]) -> MembersChanged:
        """Let patients join a group, ten thousand a call; who is in it already stays."""
        return await self._change_all(group, "add", patients)

    async def remove_members(self, group: str, patients: Iterable[str]) -> MembersChanged:
        """Let patients leave a group, ten thousand a call; who is not in it is no error."""
        return await self._change_all(group, "remove", patients)

    async def _change_all(self, group: str, what: str, patients: Iterable[str]) -> MembersChanged:
        calls = _calls(patients)
        if not calls:
            members = (await self.group(group)).members
            return MembersChanged(added=0, removed=0, members=members, not_in_store=0)
        done = [await self._change(group, {what: list(some)}) for some in calls]
        return MembersChanged(
            added=sum(each.added for each in done),
            removed=sum(each.removed for each in done),
            members=done[-1].members,
            not_in_store=sum(each.not_in_store for each in done),
        )

    async def _change(self, group: str, body: dict[str, Any]) -> MembersChanged:
        # Doing it twice is doing it once, so it may be repeated whatever became of the first.
        path = f"{_GROUPS}/{step(group)}/members"
        return await self.call("PATCH", path, MembersChanged, body=body, repeatable=True)


def _calls(patients: Iterable[str]) -> list[tuple[str, ...]]:
    distinct = list(dict.fromkeys(patients))
    starts = range(0, len(distinct), _PATIENTS_PER_CALL)
    return [tuple(distinct[start : start + _PATIENTS_PER_CALL]) for start in starts]
