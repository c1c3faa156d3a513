"""Groups of patients, as operators make them and say who is in them.

A group that a Group resource was loaded for is shown, and changed by loading that resource again only.
Patients need not be in the store when they join: a group may be set up before its data come, and what is not
there is in no export. Every change tells how many of those that joined are not there (yet).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal
from uuid import uuid4

from sluice_gateway.hrefs import Hrefs
from sluice_gateway.models.access import Group as Shown
from sluice_gateway.models.access import (
    GroupMember,
    GroupReplacement,
    GroupRequest,
    MembersChange,
    MembersChanged,
)
from sluice_gateway.models.base import Page
from sluice_gateway.paging import Window, address, links
from sluice_gateway.problems import Problem, not_found
from sluice_storage.access.grants import Grants
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.model import Group, GroupExistsError, LoadedGroupError


@contextmanager
def _problems() -> Iterator[None]:
    try:
        yield
    except GroupExistsError:
        text = "A group of this id exists."
        raise Problem(409, "group_exists", text, "Change that one, or choose another id.") from None
    except LoadedGroupError:
        text = "A Group resource says who is in this group."
        raise Problem(409, "loaded_group", text, "Load or delete the Group resource instead.") from None
    except LookupError:
        raise not_found("group") from None


class GroupsApi:
    """The operators' API of groups.

    Parameters
    ----------
    groups
        Where they are kept.
    grants
        What is granted of them.
    hrefs
        Makes addresses.
    new_id
        Gives ids that were never given before.
    """

    def __init__(
        self,
        groups: Groups,
        grants: Grants,
        hrefs: Hrefs,
        *,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._groups = groups
        self._grants = grants
        self._hrefs = hrefs
        self._new_id = new_id

    async def create(self, wanted: GroupRequest) -> Shown:
        """Make a group; Problem 409 if there is one of this id."""
        with _problems():
            made = await self._groups.create(wanted.id or self._new_id(), wanted.name, wanted.patients)
        return self._show(made)

    async def page(self, window: Window, *, name: str | None) -> tuple[Page[Shown], int]:
        """Give a page of groups, and how many match."""
        found, total = await self._groups.page(window.limit, window.offset, name=name)
        href = self._hrefs("/v2/fhir/groups")
        filters = {"name": name}
        page = Page[Shown](
            href=address(href, filters, window),
            items=[self._show(group) for group in found],
            links=links(href, filters, window, total),
        )
        return page, total

    async def get(self, group: str) -> Shown:
        """Give a group; Problem 404."""
        return self._show(await self._found(group))

    async def replace(self, group: str, wanted: GroupReplacement) -> Shown:
        """Give a group this name and these patients; Problem 404 or 409."""
        await self._found(group)
        with _problems():
            return self._show(await self._groups.put(group, wanted.name, wanted.patients))

    async def delete(self, group: str, by: str) -> None:
        """Delete a group and revoke what is granted of it; Problem 404 or 409."""
        with _problems():
            deleted = await self._groups.delete(
                group, also=lambda connection: self._grants.revoke_all_of_group(connection, group, by)
            )
        if not deleted:
            raise not_found("group")

    async def members(self, group: str, window: Window) -> tuple[Page[GroupMember], int]:
        """Give a page of a group's members, and how many it has; Problem 404."""
        total = (await self._found(group)).members
        found = await self._groups.members(group, limit=window.limit, offset=window.offset)
        href = self._hrefs.group(group) + "/members"
        page = Page[GroupMember](
            href=address(href, {}, window),
            items=[GroupMember(patient=member.patient, since=member.since) for member in found],
            links=links(href, {}, window, total),
        )
        return page, total

    async def change(self, group: str, wanted: MembersChange) -> MembersChanged:
        """Let patients join a group and others leave it; Problem 404 or 409."""
        with _problems():
            changed = await self._groups.change(group, add=wanted.add, remove=wanted.remove)
        return MembersChanged(
            added=changed.added,
            removed=changed.removed,
            members=changed.members,
            not_in_store=await self._groups.absent(wanted.add),
        )

    async def leave(self, group: str, patient: str) -> None:
        """Take a patient out of a group; Problem 404 (also if they are not in it) or 409."""
        with _problems():
            removed = await self._groups.remove(group, [patient])
        if not removed:
            raise not_found("member")

    async def _found(self, group: str) -> Group:
        found = await self._groups.get(group)
        if found is None:
            raise not_found("group")
        return found

    def _show(self, group: Group) -> Shown:
        managed: Literal["api", "resource"] = "api" if group.managed == "api" else "resource"
        return Shown(
            href=self._hrefs.group(group.id),
            id=group.id,
            name=group.name,
            managed=managed,
            members=group.members,
            modified_on=group.updated,
        )
