"""Searching a type, as far as the token may see it.

What a page costs is bounded: it looks at so many resources at most, and where it has not found enough by
then it ends early, with a link to the next one (R4 section 3.1.1.3 lets a page have any number).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.stored import decoded
from sluice_gateway.fhir.access import View, sees_artifacts, view_of
from sluice_gateway.fhir.bundles import searchset
from sluice_gateway.fhir.group_resources import group_resource
from sluice_gateway.fhir.outcomes import refused
from sluice_gateway.fhir.queries import CURSOR, SearchQuery
from sluice_gateway.fhir.scope_check import lacking
from sluice_gateway.problems import not_found
from sluice_security.export_scopes import permission
from sluice_security.tokens import Principal
from sluice_storage.access.grants import Grants
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.lookup import Lookup
from sluice_storage.resources.model import Stored

_CHUNK = 500
_MOST_LOOKED_AT = 4 * _CHUNK
_MOST_BYTES = 16 * 1024 * 1024
# Cursors: how far the stored resources are read; then, of groups that operators manage, after which id.
_STORED, _MANAGED = "r", "g"


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what a search found: the Bundle, how many it has, and the patients whose data they are."""

    bundle: bytes
    count: int = 0
    patients: frozenset[str] = frozenset()


class _Page:
    """Collects what is found, until there is enough of it."""

    def __init__(self, count: int) -> None:
        self.found: list[Stored] = []
        self.cursor: str | None = None
        self._count = count
        self._bytes = 0

    @property
    def full(self) -> bool:
        return len(self.found) >= self._count or self._bytes >= _MOST_BYTES

    def add(self, stored: Stored) -> None:
        self.found.append(stored)
        self._bytes += len(stored.body or b"")


class Searching:
    """Searches resources.

    Parameters
    ----------
    grants
        What is granted to whom.
    groups
        Who is in which group.
    lookup
        The resources.
    base
        The FHIR API's outside URL.
    """

    def __init__(self, grants: Grants, groups: Groups, lookup: Lookup, base: str) -> None:
        self._grants = grants
        self._groups = groups
        self._lookup = lookup
        self._base = base

    async def permit(self, who: Principal, type_: str) -> View | None:
        """Give what the token may search of a type; None: it would find nothing.

        Raises
        ------
        Problem
            404: there is no such type. 403: the token's scopes do not permit to search it.
        """
        if type_ not in RESOURCE_TYPES:
            raise not_found()
        if permission(who.scopes, type_, "s") is None and not sees_artifacts(who.scopes, type_):
            text = f"The token's scopes do not permit to search {type_}. Ask for system/{type_}.rs."
            raise lacking(text, f"system/{type_}.rs")
        return view_of(await self._grants.of(who.client, who.subject), who.scopes, type_, "s")

    async def search(self, view: View | None, query: SearchQuery) -> Found:
        """Give a page of what is found, as a Bundle.

        Raises
        ------
        Refusal
            400: the cursor is none of this server's.
        """
        address = query.address(self._base, query.cursor)
        if view is None:
            return Found(searchset(self._base, [], address, None, 0))
        if query.only_count:
            if view.filters:
                text = "How many there are is not told to tokens whose scopes are limited by a search."
                raise refused(400, "not-supported", text)
            return Found(searchset(self._base, [], address, None, await self._total(view, query)))
        page = await self._page(view, query)
        following = None if page.cursor is None else query.address(self._base, page.cursor)
        complete = page.cursor is None and not query.cursor
        total = len(page.found) if complete else None
        return Found(
            searchset(self._base, page.found, address, following, total),
            len(page.found),
            frozenset().union(*(stored.patients for stored in page.found)),
        )

    async def _page(self, view: View, query: SearchQuery) -> _Page:
        page = _Page(query.count)
        phase, place = query.cursor[:1], query.cursor[1:]
        if phase not in ("", _STORED, _MANAGED):
            raise _bad_cursor()
        if phase != _MANAGED:
            await self._stored(page, view, query, _number(place) if phase else 0)
            place = ""
        if query.type == "Group" and page.cursor is None:
            await self._managed(page, view, query, place)
        return page

    async def _stored(self, page: _Page, view: View, query: SearchQuery, after: int) -> None:
        looked_at = 0
        tested = bool(query.tests or view.filters)
        while True:
            limit = _CHUNK if tested else query.count - len(page.found)
            found = await self._lookup.page(
                query.type, after=after, limit=limit, patients=query.patients, **_within(view, query)
            )
            for at, stored in enumerate(found.items):
                after = stored.seq
                if _passes(stored, view, query):
                    page.add(stored)
                if page.full:
                    if found.next is not None or at + 1 < len(found.items):
                        page.cursor = f"{_STORED}{after}"
                    elif query.type == "Group":
                        page.cursor = _MANAGED
                    return
            looked_at += len(found.items)
            if found.next is None:
                return
            if looked_at >= _MOST_LOOKED_AT:
                page.cursor = f"{_STORED}{after}"
                return

    async def _managed(self, page: _Page, view: View, query: SearchQuery, after: str) -> None:
        """Add groups that operators manage, without their members: these are told by reading one."""
        visible = _group_ids(view, query)
        groups = [
            group for group in await self._groups.list(visible) if group.managed == "api" and group.id > after
        ]
        for at, group in enumerate(groups):
            stored = group_resource(group, None)
            if query.patients is None and _passes(stored, view, query):
                page.add(stored)
            if page.full:
                page.cursor = f"{_MANAGED}{group.id}" if at + 1 < len(groups) else None
                return

    async def _total(self, view: View, query: SearchQuery) -> int:
        total = await self._lookup.count(query.type, patients=query.patients, **_within(view, query))
        if query.type == "Group":
            groups = await self._groups.list(_group_ids(view, query))
            total += sum(group.managed == "api" for group in groups)
        return total


def _within(view: View, query: SearchQuery) -> dict[str, Any]:
    if query.type == "Group":
        # A Group is in the compartment of each of its members, and tells who else it has.
        return {"ids": _group_ids(view, query)}
    return {"ids": query.ids, "groups": None if view.all_patients else view.groups}


def _group_ids(view: View, query: SearchQuery) -> tuple[str, ...] | None:
    if view.all_patients:
        return query.ids
    return tuple(id_ for id_ in view.groups if query.ids is None or id_ in query.ids)


def _passes(stored: Stored, view: View, query: SearchQuery) -> bool:
    if not query.tests and not view.filters:
        return True
    resource = decoded(stored.body or b"{}")
    if resource is None:
        return False
    return view.satisfied(resource) and all(test(resource) for test in query.tests)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _bad_cursor()
    return int(text)


def _bad_cursor() -> Exception:
    return refused(400, "value", f"The parameter {CURSOR} is none that a link of this server has.")
