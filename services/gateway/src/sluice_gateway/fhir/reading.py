"""Reading a resource by its id, as far as the token may see it; what it may not see does not exist.

A Binary is in nobody's compartment. Who may not see all of them may read one that says whose it is
(`securityContext`, R4 section 2.37.4), and one that a DocumentReference they may see has as its attachment.
"""

from __future__ import annotations

from typing import Any

from sluice_fhir.references import InvalidReferenceError, Reference, parse_reference
from sluice_fhir.stored import decoded, element
from sluice_gateway.fhir.access import View, view_of
from sluice_gateway.fhir.group_resources import group_resource
from sluice_gateway.problems import Problem, not_found
from sluice_security.tokens import Principal
from sluice_storage.access.grants import Grants
from sluice_storage.access.model import Grant
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.lookup import Lookup
from sluice_storage.resources.model import Stored

_DOCUMENT = "DocumentReference"
# No id of a resource: nobody has it.
_NOBODY = ""


class Reading:
    """Reads resources.

    Parameters
    ----------
    grants
        What is granted to whom.
    groups
        Who is in which group.
    lookup
        The resources.
    base
        The FHIR API's outside URL: absolute references below it are to resources here.
    """

    def __init__(self, grants: Grants, groups: Groups, lookup: Lookup, base: str) -> None:
        self._grants = grants
        self._groups = groups
        self._lookup = lookup
        self._base = base

    async def read(self, who: Principal, type_: str, id_: str) -> Stored:
        """Give a resource as it is now.

        Raises
        ------
        Problem
            404: it does not exist, or not for this token. 410: it was deleted.
        """
        return _alive(await self._find(who, type_, id_))

    async def read_version(self, who: Principal, type_: str, id_: str, version: str) -> Stored:
        """Give a resource if it still is of this version; older ones are not told (R4 section 3.1.0.2).

        Raises
        ------
        Problem
            404: it does not exist, not for this token, or is of another version. 410: that version is its
            deletion.
        """
        found = await self._find(who, type_, id_)
        if str(found.version) != version:
            raise not_found()
        return _alive(found)

    async def _find(self, who: Principal, type_: str, id_: str) -> Stored:
        grants = await self._grants.of(who.client, who.subject)
        found = await self._visible(who, grants, type_, id_)
        if found is None:
            raise not_found()
        return found

    async def _visible(
        self, who: Principal, grants: tuple[Grant, ...], type_: str, id_: str
    ) -> Stored | None:
        view = view_of(grants, who.scopes, type_, "r")
        if view is None:
            return None
        found = await self._lookup.read(type_, id_)
        # Up to here and no further for who may not see it, whether it is there or not.
        if not await self._within(view, type_, id_, found) and not await self._attached(
            who, grants, type_, id_, found
        ):
            return None
        if type_ == "Group" and (found is None or found.deleted):
            found = await self._managed_group(id_) or found
        if found is None or not view.filters:
            return found
        # What was deleted cannot be searched any more.
        return None if found.body is None or not _satisfied(view, found.body) else found

    async def _within(self, view: View, type_: str, id_: str, found: Stored | None) -> bool:
        if view.all_patients:
            return True
        if type_ == "Group":
            # It is in the compartment of each of its members, and tells who else it has.
            return id_ in view.groups
        # What is in nobody's compartment, or not there at all, is looked for as long as anything else.
        patients = found.patients if found is not None else ()
        return await self._groups.any_member(view.groups, patients or (_NOBODY,))

    async def _managed_group(self, id_: str) -> Stored | None:
        group = await self._groups.get(id_)
        if group is None or group.managed != "api":
            return None
        return group_resource(group, await self._groups.members(id_))

    async def _attached(
        self, who: Principal, grants: tuple[Grant, ...], type_: str, id_: str, found: Stored | None
    ) -> bool:
        """Say whether a Binary is of something that the token may see."""
        if type_ != "Binary":
            return False
        body = None if found is None else found.body
        binary = None if body is None else decoded(body)
        if binary is not None and binary.get("securityContext") is not None:
            owner = self._reference(binary["securityContext"], "reference")
            if owner is None or owner.type == "Binary":
                return False
            seen = await self._visible(who, grants, owner.type, owner.id)
            return seen is not None and not seen.deleted
        view = view_of(grants, who.scopes, _DOCUMENT, "r")
        if view is None:
            return False
        documents = await self._lookup.mentioning(_DOCUMENT, f"Binary/{id_}", groups=view.groups)
        return binary is not None and any(
            self._has_attachment(each.body, id_) and _satisfied(view, each.body)
            for each in documents
            if each.body is not None
        )

    def _has_attachment(self, body: bytes, id_: str) -> bool:
        references = (
            self._reference(attachment, "url")
            for content in element(decoded(body), "content")
            for attachment in element(content, "attachment")
        )
        return any(
            reference is not None and (reference.type, reference.id) == ("Binary", id_)
            for reference in references
        )

    def _reference(self, node: Any, name: str) -> Reference | None:
        """Read an element's reference to a resource here; None if it is none."""
        text = node.get(name) if type(node) is dict else None
        if type(text) is not str:
            return None
        try:
            found = parse_reference(text)
        except InvalidReferenceError:
            return None
        return found if found.base in (None, self._base) else None


def _alive(found: Stored) -> Stored:
    if found.deleted:
        raise Problem(410, "deleted", "The resource was deleted.", "")
    return found


def _satisfied(view: View, body: bytes) -> bool:
    if not view.filters:
        return True
    resource = decoded(body)
    return resource is not None and view.satisfied(resource)
