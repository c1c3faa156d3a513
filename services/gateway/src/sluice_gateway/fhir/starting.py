"""Accepting exports: read, resolve what may be seen, admit, publish."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from sluice_contracts.commands import StartBulkExport
from sluice_contracts.exports import ExportAccess, ExportLevel, ExportRequest
from sluice_contracts.words import counted
from sluice_gateway.accepting import Accepting
from sluice_gateway.fhir.access import resolve
from sluice_gateway.fhir.export_store import Admission, ExportStore
from sluice_gateway.fhir.kickoff import Dialect, KickOff
from sluice_gateway.fhir.outcomes import Issue, Refusal, refused
from sluice_gateway.fhir.scope_check import exporting, lacking
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.idempotency import digest
from sluice_gateway.problems import Problem
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Quotas
from sluice_security.tokens import Principal
from sluice_storage.access.model import Grant
from sluice_storage.resources.model import Group, Member, Stored

_AFTER = 30


class GrantReader(Protocol):
    """Where grants are; see `sluice_storage.access.grants.Grants`."""

    def of(self, client: str, subject: str) -> Awaitable[tuple[Grant, ...]]:
        """Give the grants that count now for a token of this client and this subject."""


class GroupReader(Protocol):
    """Where groups are; see `sluice_storage.resources.groups.Groups`."""

    async def get(self, group: str) -> Group | None: ...  # noqa: D102
    async def members(self, group: str) -> tuple[Member, ...]: ...  # noqa: D102


class PatientReader(Protocol):
    """Where patients are; see `sluice_storage.resources.lookup.Lookup`."""

    async def read_many(self, type_: str, ids: Sequence[str]) -> dict[str, Stored]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Sight:
    """Where it is looked up who may see whom: grants, groups and patients."""

    grants: GrantReader
    groups: GroupReader
    patients: PatientReader


@dataclass(frozen=True, slots=True)
class Rules:
    """What operators set: how many exports of one owner run at once, and whether the same one runs twice."""

    running: int
    refuse_duplicates: bool


class Starting:
    """Accepts exports.

    Parameters
    ----------
    dialect
        The version of Bulk Data Access.
    sight
        Who may see whom.
    store, quotas
        What is known of exports, and what is counted.
    accepting, commands
        Accepts jobs of this kind; puts commands on Kafka.
    rules
        What operators set.
    now
        The wall clock, Unix seconds.
    """

    def __init__(
        self,
        dialect: Dialect,
        sight: Sight,
        store: ExportStore,
        quotas: Quotas,
        accepting: Accepting,
        commands: Commands,
        rules: Rules,
        *,
        hrefs: Hrefs,
        now: Callable[[], float],
    ) -> None:
        self._dialect = dialect
        self._sight = sight
        self._store = store
        self._quotas = quotas
        self._accepting = accepting
        self._commands = commands
        self._rules = rules
        self._hrefs = hrefs
        self._now = now

    async def start(self, who: Principal, kickoff: KickOff, idempotency_key: str | None = None) -> str:
        """Accept an export and give its id.

        Raises
        ------
        Problem
            400 with all that is wrong, 403, 404, 409, 413, 422, 429 or 503; nothing was done then.
        """
        # A kick-off that is refused counts too: the quota is also what keeps a loop from hammering.
        await self._quotas.take(who.client)
        types = exporting(who)
        request = self._dialect.read(kickoff)
        unpermitted = sorted(named_types(request) - types.keys())
        if unpermitted:
            text = f"The token's scopes do not permit these types to be exported: {', '.join(unpermitted)}."
            raise lacking(text, " ".join(f"system/{name}.rs" for name in unpermitted))
        access = await self._access(who, request)
        await self._check_patients(request, access)
        return await self._begin(who, request, access, idempotency_key)

    async def _access(self, who: Principal, request: ExportRequest) -> ExportAccess:
        grants = await self._sight.grants.of(who.client, who.subject)
        named = named_types(request)
        requested = None if request.types is None else named
        access = resolve(grants, request.level, request.group, exporting(who), requested)
        if request.group is not None and (
            access is None or await self._sight.groups.get(request.group) is None
        ):
            access = None
        if access is None:
            raise refused(404, "not-found", "There is no such group. Check its id.")
        granted = {name for reach in access.reaches for name in reach.types or ()}
        missing = sorted(named - granted)
        if missing:
            text = f"You have no access to resources of these types: {', '.join(missing)}. Ask the operators."
            raise refused(403, "forbidden", text)
        if not granted:
            raise refused(403, "forbidden", "You have no access to any patient's data. Ask the operators.")
        return access

    async def _check_patients(self, request: ExportRequest, access: ExportAccess) -> None:
        """Refuse patients whom the export could not hold, without a word on why it could not."""
        if request.patients is None:
            return
        asked = set(request.patients)
        if request.level is not ExportLevel.GROUP and access.all_patients:
            found = await self._sight.patients.read_many("Patient", request.patients)
            known = {name for name, stored in found.items() if not stored.deleted}
        else:
            known = set()
            for group in access.groups:
                known |= {member.patient for member in await self._sight.groups.members(group)}
        missing = len(asked - known)
        if missing:
            where = "in this group" if request.level is ExportLevel.GROUP else "here"
            text = f"{missing} of the patients asked for cannot be found {where}."
            raise Refusal(400, [Issue(code="value", text=text, expression=("Parameters.parameter",))])

    async def _begin(
        self, who: Principal, request: ExportRequest, access: ExportAccess, idempotency_key: str | None
    ) -> str:
        spelled = spelling(request)
        claim = await self._accepting.claim(who, idempotency_key, digest(f"$export {request.url}", spelled))
        job = claim.job
        if claim.published:
            return job
        await self._admit(Admission(job, who.client, who.subject, digest("$export", spelled)))
        command = StartBulkExport(
            job=job,
            client=who.client,
            subject=who.subject,
            submitted_at=claim.at,
            request=request,
            access=access,
        )
        try:
            await self._accepting.begin(claim, command)
        except Problem:
            self._commands.later(self._store.dismiss(job))
            raise
        return job

    async def _admit(self, admission: Admission) -> None:
        at = datetime.fromtimestamp(self._now(), UTC)
        admitted, twin = await self._store.admit(
            admission, at, most=self._rules.running, once=self._rules.refuse_duplicates
        )
        if admitted:
            return
        if twin is not None:
            text = "You have an export of the same already. Delete it, or use it."
            raise refused(409, "duplicate", text, {"Content-Location": self._hrefs.export(twin)})
        running = counted(self._rules.running, "export")
        text = f"You have {running} running. Wait until one has ended, or delete one."
        raise refused(429, "throttled", text, {"Retry-After": str(_AFTER)})


def named_types(request: ExportRequest) -> frozenset[str]:
    """Give the types that a request names, be it as a type, in a search, or as what goes with others."""
    associated = ("Provenance",) if request.include_associated is not None else ()
    return frozenset((*(request.types or ()), *(each.type for each in request.type_filters), *associated))


def spelling(request: ExportRequest) -> bytes:
    """Give a request in the one spelling in which those that ask for the same are the same.

    Members of lists are in order already, except searches; where it was sent, and what was left out of
    account, says nothing on what is asked for.
    """
    filters = tuple(sorted(request.type_filters, key=lambda each: (each.type, each.query)))
    return msgspec.json.encode(msgspec.structs.replace(request, url="", ignored=(), type_filters=filters))
