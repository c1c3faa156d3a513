"""Grants, as operators give and revoke them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import uuid4

from sluice_gateway.hrefs import Hrefs
from sluice_gateway.models.access import Grant as Shown
from sluice_gateway.models.access import GrantRequest
from sluice_gateway.models.base import Page
from sluice_gateway.paging import Window, address, links
from sluice_gateway.problems import FieldProblem, invalid, not_found
from sluice_storage.access.grants import Grants, utc_now
from sluice_storage.access.model import Grant, GranteeKind


class GrantsApi:
    """The operators' API of grants.

    Parameters
    ----------
    grants
        Where they are kept.
    hrefs
        Makes addresses.
    now, new_id
        Give the time, and ids that were never given before.
    """

    def __init__(
        self,
        grants: Grants,
        hrefs: Hrefs,
        *,
        now: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._grants = grants
        self._hrefs = hrefs
        self._now = now
        self._new_id = new_id

    async def give(self, wanted: GrantRequest, by: str) -> Shown:
        """Give a grant; Problem 400 if there is no such group, or if it would have ended already."""
        now = self._now()
        if wanted.expires_on is not None and wanted.expires_on <= now:
            raise invalid([FieldProblem("expires_on", "must be in the future")])
        kind = GranteeKind.CLIENT if wanted.client is not None else GranteeKind.USER
        grant = Grant(
            id=self._new_id(),
            grantee_kind=kind,
            grantee=wanted.client or wanted.user or "",
            all_patients=wanted.all_patients,
            group=wanted.group,
            types=None if wanted.types is None else tuple(sorted(set(wanted.types))),
            granted_by=by,
            granted_at=now,
            expires_at=wanted.expires_on,
        )
        try:
            await self._grants.give(grant)
        except LookupError:
            raise invalid([FieldProblem("group", "there is no such group")]) from None
        return self._show(grant)

    async def page(
        self, window: Window, *, grantee: str | None, group: str | None, ended: bool
    ) -> tuple[Page[Shown], int]:
        """Give a page of grants, and how many match."""
        found = await self._grants.page(
            grantee=grantee, group=group, ended=ended, limit=window.limit, offset=window.offset
        )
        href = self._hrefs("/v2/fhir/grants")
        filters = {"grantee": grantee, "group": group, "ended": "true" if ended else None}
        page = Page[Shown](
            href=address(href, filters, window),
            items=[self._show(grant) for grant in found.items],
            links=links(href, filters, window, found.total),
        )
        return page, found.total

    async def get(self, grant: str) -> Shown:
        """Give a grant, whether it counts or not; Problem 404."""
        found = await self._grants.get(grant)
        if found is None:
            raise not_found("grant")
        return self._show(found)

    async def revoke(self, grant: str, by: str) -> None:
        """Take a grant back; Problem 404 if there is none, or if it was taken back before."""
        if not await self._grants.revoke(grant, by):
            raise not_found("grant")

    def _show(self, grant: Grant) -> Shown:
        revoked = grant.revoked_at is not None
        client = grant.grantee_kind is GranteeKind.CLIENT
        return Shown(
            href=self._hrefs.grant(grant.id),
            id=grant.id,
            client=grant.grantee if client else None,
            user=None if client else grant.grantee,
            group=grant.group,
            all_patients=grant.all_patients,
            types=None if grant.types is None else list(grant.types),
            state="revoked" if revoked else "active" if grant.counts(self._now()) else "expired",
            granted_by=grant.granted_by,
            granted_on=grant.granted_at,
            expires_on=grant.expires_at,
            revoked_by=grant.revoked_by,
            revoked_on=grant.revoked_at,
        )
