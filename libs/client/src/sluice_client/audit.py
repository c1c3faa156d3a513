"""Who did what, when, and how it ended: the service's audit records (operators)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from msgspec import Struct

from sluice_client.api import Api, step
from sluice_client.searchsets import PER_PAGE, found

_PATH = "/fhir/AuditEvent"
_ACTS = "/CodeSystem/audit-act"


class Coding(Struct, frozen=True):
    """A code of a system."""

    system: str = ""
    code: str = ""
    display: str = ""


class Identifier(Struct, frozen=True):
    """A name that is no FHIR address."""

    value: str = ""


class AuditReference(Struct, frozen=True):
    """What a record names: by address, or by another name."""

    reference: str | None = None
    identifier: Identifier | None = None

    @property
    def name(self) -> str | None:
        """Either of them."""
        return self.reference or (self.identifier.value if self.identifier is not None else None)


class Network(Struct, frozen=True):
    """Where an agent was."""

    address: str | None = None


class AuditAgent(Struct, frozen=True):
    """Who took part; the `requestor` asked for it."""

    who: AuditReference | None = None
    requestor: bool = False
    network: Network | None = None


class AuditEntity(Struct, frozen=True):
    """What it was done to, and its part in it (code of `object-role`)."""

    what: AuditReference | None = None
    role: Coding | None = None
    description: str | None = None
    detail: list[dict[str, Any]] = []


class AuditSource(Struct, frozen=True):
    """Which service recorded it."""

    observer: AuditReference = AuditReference()


class AuditEvent(Struct, frozen=True, rename="camel", kw_only=True):
    """A record, as a FHIR R4 AuditEvent; `outcome` is 0 (done), 4, 8 or 12."""

    id: str
    recorded: datetime
    type: Coding
    subtype: list[Coding] = []
    action: str | None = None
    outcome: str
    outcome_desc: str | None = None
    agent: list[AuditAgent] = []
    source: AuditSource = AuditSource()
    entity: list[AuditEntity] = []

    @property
    def act(self) -> str:
        """What was done, in the service's own words, such as `token` or `grant.give`."""
        return next((each.code for each in self.subtype if each.system.endswith(_ACTS)), "")

    @property
    def requestor(self) -> AuditAgent | None:
        """Who asked for it."""
        return next((each for each in self.agent if each.requestor), None)


class AuditCalls(Api):
    """What operators read of the audit trail; needs the scope `ops/audit`."""

    async def audit_events(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        **search: str | None,
    ) -> AsyncIterator[AuditEvent]:
        """Go through audit records, the newest first.

        Parameters
        ----------
        since, until
            From this time on, and before that (aware).
        search
            R4's parameters of AuditEvent: `type`, `subtype` (also by the service's own words), `action`,
            `outcome`, `agent` (a client's or a user's id), `address`, `entity`, `patient`.

        Examples
        --------
        >>> async for event in sluice.audit_events(subtype="disclose", agent="portal"):
        ...     print(event.recorded, event.entity[0].what.name)
        """
        pairs = [("_count", str(PER_PAGE))]
        if since is not None:
            pairs.append(("date", f"ge{since.isoformat()}"))
        if until is not None:
            pairs.append(("date", f"lt{until.isoformat()}"))
        pairs += [(name, value) for name, value in search.items() if value is not None]
        async for event in found(self, f"{_PATH}?{urlencode(pairs)}", AuditEvent):
            yield event

    async def audit_event(self, event: str) -> AuditEvent:
        """Give one audit record."""
        return await self.get(f"{_PATH}/{step(event)}", AuditEvent)
