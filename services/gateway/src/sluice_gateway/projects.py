"""Projects and their members in the Seven Bridges v2 shapes."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from sluice_gateway.files import catalogue_problems
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.models.base import Page
from sluice_gateway.models.projects import (
    Member,
    MemberRequest,
    PermissionsChange,
    Project,
    ProjectChange,
    ProjectRequest,
)
from sluice_gateway.paging import Window, address, links
from sluice_gateway.problems import Problem
from sluice_storage.catalogue import Catalogue
from sluice_storage.catalogue.model import Member as Membership
from sluice_storage.catalogue.model import NameTakenError, Permissions
from sluice_storage.catalogue.model import Project as Stored

_LONGEST_SLUG = 60
_SLUG_TRIES = 100


def slug(text: str) -> str:
    """Give a project's short name: lower case ASCII letters, digits and hyphens; never empty."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_LONGEST_SLUG].strip("-") or "project"


def owner_name(subject: str) -> str:
    """Give the part of a project's id that names its owner; ids are split at slashes, so it has none."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", subject)[:100] or "owner"


def _shown_permissions(permissions: Permissions) -> dict[str, bool]:
    return {
        "read": True,
        "write": permissions.write,
        "copy": permissions.copy,
        "execute": permissions.execute,
        "admin": permissions.admin,
    }


class Projects:
    """The projects API.

    Parameters
    ----------
    catalogue
        Where projects are.
    hrefs
        Makes addresses.
    """

    def __init__(self, catalogue: Catalogue, hrefs: Hrefs) -> None:
        self._projects = catalogue.projects
        self._members = catalogue.members
        self._remove = catalogue.remove
        self._hrefs = hrefs

    async def create(self, subject: str, wanted: ProjectRequest) -> Project:
        """Make a project whose id is the owner's name and a short form of the project's.

        Raises
        ------
        Problem
            409: a hundred projects of this owner have that name.
        """
        base = f"{owner_name(subject)}/{slug(wanted.name)}"
        for number in range(1, _SLUG_TRIES + 1):
            try:
                made = await self._projects.create(
                    subject,
                    base if number == 1 else f"{base}-{number}",
                    name=wanted.name,
                    description=wanted.description,
                    tags=wanted.tags,
                )
            except NameTakenError:
                continue
            return self._show(made)
        raise Problem(409, "name_taken", "Too many projects have this name.", "Choose another name.")

    async def get(self, subject: str, project: str) -> Project:
        """Give the project; Problem 404 if it does not exist for the subject."""
        with catalogue_problems("project"):
            return self._show(await self._projects.get(subject, project))

    async def page(
        self, subject: str, window: Window, *, name: str | None, owner: str | None
    ) -> tuple[Page[Project], int]:
        """Give a page of the projects the subject is a member of, and how many match."""
        found = await self._projects.list(
            subject, name=name, owner=owner, limit=window.limit, offset=window.offset
        )
        href = self._hrefs(f"/v2/projects/{owner}" if owner else "/v2/projects")
        filters = {"name": name}
        page = Page[Project](
            href=address(href, filters, window),
            items=[self._show(project) for project in found.items],
            links=links(href, filters, window, found.total),
        )
        return page, found.total

    async def change(self, subject: str, project: str, change: ProjectChange) -> Project:
        """Change what is given."""
        with catalogue_problems("project"):
            changed = await self._projects.change(
                subject, project, name=change.name, description=change.description, tags=change.tags
            )
        return self._show(changed)

    async def delete(self, subject: str, project: str) -> None:
        """Delete a project with everything in it."""
        with catalogue_problems("project"):
            await self._remove.project(subject, project)

    async def members(self, subject: str, project: str, window: Window) -> tuple[Page[Member], int]:
        """Give a page of a project's members, and how many there are."""
        with catalogue_problems("project"):
            found = await self._members.list(subject, project, limit=window.limit, offset=window.offset)
        href = self._hrefs.project(project) + "/members"
        page = Page[Member](
            href=address(href, {}, window),
            items=[self._member(project, member) for member in found.items],
            links=links(href, {}, window, found.total),
        )
        return page, found.total

    async def member(self, subject: str, project: str, username: str) -> Member:
        """Give one member."""
        with catalogue_problems("member"):
            return self._member(project, await self._members.get(subject, project, username))

    async def set_member(self, subject: str, project: str, wanted: MemberRequest) -> Member:
        """Add a member, or give one new permissions."""
        asked = wanted.permissions
        permissions = Permissions(asked.write, asked.copy_, asked.execute, asked.admin)
        with catalogue_problems("project"):
            member = await self._members.put(subject, project, Membership(wanted.username, permissions))
        return self._member(project, member)

    async def permit(self, subject: str, project: str, username: str, change: PermissionsChange) -> Member:
        """Change some of a member's permissions."""
        with catalogue_problems("member"):
            known = await self._members.get(subject, project, username)
            given = {"write": change.write, "copy": change.copy_, "execute": change.execute}
            given["admin"] = change.admin
            changes = {name: value for name, value in given.items() if value is not None}
            changed = replace(known, permissions=replace(known.permissions, **changes))
            return self._member(project, await self._members.put(subject, project, changed))

    async def remove_member(self, subject: str, project: str, username: str) -> None:
        """Remove a member."""
        with catalogue_problems("member"):
            await self._members.remove(subject, project, username)

    def _show(self, project: Stored) -> Project:
        return Project(
            href=self._hrefs.project(project.id),
            id=project.id,
            name=project.name,
            description=project.description,
            tags=list(project.tags),
            root_folder=project.root,
            permissions=_shown_permissions(project.permissions),
            created_by=project.created_by,
            created_on=project.created_on,
            modified_on=project.modified_on,
        )

    def _member(self, project: str, member: Membership) -> Member:
        return Member(
            href=self._hrefs.member(project, member.subject),
            id=member.subject,
            username=member.subject,
            permissions=_shown_permissions(member.permissions),
        )
