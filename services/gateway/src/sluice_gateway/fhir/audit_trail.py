"""The audit trail as operators read it: as AuditEvents, like any type's resources.

Whoever is no operator is answered from the resource store, where AuditEvents of other servers may be that an
import brought; of the trail nobody else is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from sluice_gateway.fhir.audit_events import TYPE, audit_event
from sluice_gateway.fhir.audit_queries import AuditQuery, id_of, parse_audit_search, place_of
from sluice_gateway.fhir.bundles import searchset
from sluice_gateway.problems import not_found
from sluice_security.tokens import Principal
from sluice_storage.audit.reading import Place, Wanted, Written
from sluice_storage.resources.model import Stored

SCOPE = "ops/audit"
_VERSION = 1


class AuditReader(Protocol):
    """Where records are read; see `sluice_storage.audit.reading.Reader`."""

    async def get(self, place: Place) -> Written | None:
        """Give one record."""

    async def page(self, wanted: Wanted, *, limit: int, before: Place | None = None) -> Sequence[Written]:
        """Give some of the records that are wanted, the newest first, from `before` on."""


class AuditTrail:
    """Reads and searches the trail.

    Parameters
    ----------
    reader
        Where records are.
    base
        The FHIR API's outside URL.
    """

    def __init__(self, reader: AuditReader, base: str) -> None:
        self._reader = reader
        self._base = base

    @staticmethod
    def answers(who: Principal, type_: str) -> bool:
        """Say whether a token reads the trail where it asks for a type."""
        return type_ == TYPE and SCOPE in who.scopes

    async def read(self, id_: str, version: str | None = None) -> Stored:
        """Give an AuditEvent; records never change, so there is one version of each.

        Raises
        ------
        Problem
            404: there is none.
        """
        place = place_of(id_)
        found = None if place is None else await self._reader.get(place)
        if found is None or version not in (None, str(_VERSION)):
            raise not_found()
        return self._stored(found)

    async def search(
        self, pairs: Iterable[tuple[str, str]], *, lenient: bool
    ) -> tuple[AuditQuery, bytes, int]:
        """Give a page of what is found, as a Bundle, and how many it has.

        Raises
        ------
        Refusal
            400: a parameter cannot be used.
        """
        query = parse_audit_search(pairs, lenient=lenient)
        found = await self._reader.page(query.wanted, limit=query.count + 1, before=query.before)
        shown = found[: query.count]
        last = shown[-1] if len(found) > query.count else None
        following = None if last is None else query.address(self._base, (last.at, last.number))
        address = query.address(self._base, query.before)
        bundle = searchset(self._base, [self._stored(each) for each in shown], address, following, None)
        return query, bundle, len(shown)

    def _stored(self, written: Written) -> Stored:
        id_ = id_of((written.at, written.number))
        body = msgspec.json.encode(audit_event(written, id_, self._base))
        return Stored(TYPE, id_, _VERSION, written.at, False, body, frozenset())
