"""Accepting import jobs: validate, resolve, count, keep the key, publish.

The order of the checks is the order of what an answer may tell: first what is wrong with the request itself,
then whether its destinations exist for this subject.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sluice_contracts.commands import ConflictResolution, ImportItem, StartDocumentImport
from sluice_gateway.accepting import Accepting
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.idempotency import Kept, KeyStore, conflict, digest
from sluice_gateway.import_requests import parse_import, registered
from sluice_gateway.imports import Rerun
from sluice_gateway.models.imports import ImportRequest, JobAccepted, JobStateName
from sluice_gateway.problems import FieldProblem, Problem, invalid, listed
from sluice_gateway.quotas import Quotas
from sluice_gateway.source_matching import SourceMatcher, no_source
from sluice_security.tokens import Principal
from sluice_storage.catalogue.projects import Destinations


class DestinationFinder(Protocol):
    """Where it is known which folders a subject may write into."""

    async def destinations(
        self, subject: str, *, projects: Sequence[str] = (), folders: Sequence[str] = ()
    ) -> Destinations:
        """Give those of the projects and folders that exist for the subject."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a job is to do, with everything resolved."""

    items: tuple[ImportItem, ...]
    conflict_resolution: ConflictResolution
    tags: tuple[str, ...]


def resolved(request: ImportRequest, sources: Sequence[str], found: Destinations) -> Wanted:
    """Put sources and destinations into a request.

    Parameters
    ----------
    sources
        The id of each item's source.
    found
        The destinations that exist for the subject.

    Raises
    ------
    Problem
        404: a project or folder does not exist for them; 403: they may only read it.
    """
    items: list[ImportItem] = []
    missing: list[FieldProblem] = []
    refused: list[FieldProblem] = []
    for index, (item, source) in enumerate(zip(request.items, sources, strict=True)):
        field, wanted = ("project", item.project) if item.project is not None else ("parent", item.parent)
        where = (found.projects if field == "project" else found.folders).get(wanted or "")
        if where is None:
            path = f"items[{index}].{field}"
            if wanted in found.refused:
                refused.append(FieldProblem(path, "needs write permission in the project"))
            else:
                missing.append(FieldProblem(path, "does not exist"))
            continue
        items.append(
            ImportItem(
                reference=item.fhir_document_reference,
                source=source,
                project=where.project,
                folder=where.folder,
                name=item.name,
                metadata=item.metadata,
            )
        )
    if missing:
        raise Problem(404, "not_found", listed(missing), "Check the project's or folder's id.")
    if refused:
        raise Problem(403, "forbidden", listed(refused), "Ask the project's administrator.")
    tags = tuple(dict.fromkeys(request.tags or ()))
    return Wanted(tuple(items), request.conflict_resolution, tags)


class Submissions:
    """Accepts import jobs.

    Parameters
    ----------
    sources, destinations
        Which servers are registered, and where subjects may write.
    quotas, keys
        What is counted and what is kept.
    accepting
        Accepts jobs of this kind.
    """

    def __init__(
        self,
        sources: SourceMatcher,
        destinations: DestinationFinder,
        quotas: Quotas,
        keys: KeyStore,
        accepting: Accepting,
        hrefs: Hrefs,
    ) -> None:
        self._sources = sources
        self._destinations = destinations
        self._quotas = quotas
        self._keys = keys
        self._accepting = accepting
        self._hrefs = hrefs

    async def submit(self, who: Principal, raw: bytes, idempotency_key: str | None) -> JobAccepted:
        """Accept the job that a request's body asks for.

        Raises
        ------
        Problem
            400 with every field that is wrong, 404, 403, 413, 422, 429, or 503; nothing was done then.
        """
        request, sources = await self._validated(who, raw)
        request_digest = digest("POST /v2/bulk/fhir", raw) if idempotency_key is not None else b""
        found, kept = await self._looked_up(who, request, idempotency_key)
        if kept is not None and kept.request != request_digest:
            raise conflict()
        if kept is not None and kept.published:
            return self._accepted(kept.job)
        wanted = resolved(request, sources, found)
        return await self._start(who, wanted, idempotency_key, request_digest)

    async def again(self, who: Principal, job: str, rerun: Rerun, idempotency_key: str | None) -> JobAccepted:
        """Accept a new job that runs another job's failed items again, to the same folders.

        Raises
        ------
        Problem
            As `submit`; 404 also if a folder is gone, 400 if a source is not registered any more.
        """
        request_digest = digest(f"POST /v2/bulk/fhir/{job}/actions/rerun", b"")
        folders = sorted({item.folder for item in rerun.items})
        _, found = await asyncio.gather(
            self._quotas.take(who.client), self._destinations.destinations(who.subject, folders=folders)
        )
        if len(found.folders) < len(folders):
            raise Problem(404, "not_found", "A folder of these items does not exist.", "Submit them anew.")
        sources, problems = await registered(
            self._sources,
            [(index, item.reference) for index, item in enumerate(rerun.items)],
            who.client,
        )
        if problems:
            raise no_source(problems)
        items = tuple(
            ImportItem(
                reference=item.reference,
                source=sources[index],
                project=found.folders[item.folder].project,
                folder=item.folder,
                name=item.name,
                metadata=item.metadata,
            )
            for index, item in enumerate(rerun.items)
        )
        wanted = Wanted(items, rerun.conflict_resolution, rerun.tags)
        return await self._start(who, wanted, idempotency_key, request_digest)

    async def check(self, who: Principal, raw: bytes) -> Wanted:
        """Give what a job of this body would do, without accepting it; raises as `submit` does."""
        request, sources = await self._validated(who, raw)
        found, _ = await self._looked_up(who, request, None)
        return resolved(request, sources, found)

    async def _validated(self, who: Principal, raw: bytes) -> tuple[ImportRequest, list[str]]:
        try:
            request, candidates, problems = parse_import(raw)
            sources, unregistered = await registered(self._sources, candidates, who.client)
        except Problem:
            await self._quotas.take(who.client)
            raise
        if request is None or unregistered:
            # A request that is refused counts too: the quota is also what keeps a loop from hammering.
            await self._quotas.take(who.client)
            if not problems:
                raise no_source(unregistered)
            raise invalid(sorted([*problems, *unregistered], key=_position))
        return request, [sources[index] for index in range(len(request.items))]

    async def _looked_up(
        self, who: Principal, request: ImportRequest, idempotency_key: str | None
    ) -> tuple[Destinations, Kept | None]:
        projects = {item.project for item in request.items if item.project is not None}
        folders = {item.parent for item in request.items if item.parent is not None}
        # Side by side, because each is a round trip and a client waits for all of them.
        _, found, kept = await asyncio.gather(
            self._quotas.take(who.client),
            self._destinations.destinations(who.subject, projects=sorted(projects), folders=sorted(folders)),
            self._kept(who, idempotency_key),
        )
        return found, kept

    async def _kept(self, who: Principal, idempotency_key: str | None) -> Kept | None:
        if idempotency_key is None:
            return None
        return await self._keys.find(who.client, who.subject, idempotency_key)

    async def _start(
        self, who: Principal, wanted: Wanted, idempotency_key: str | None, request_digest: bytes
    ) -> JobAccepted:
        claim = await self._accepting.claim(who, idempotency_key, request_digest)
        if claim.published:
            return self._accepted(claim.job)
        command = StartDocumentImport(
            job=claim.job,
            client=who.client,
            subject=who.subject,
            submitted_at=claim.at,
            items=wanted.items,
            conflict_resolution=wanted.conflict_resolution,
            tags=wanted.tags,
        )
        await self._accepting.begin(claim, command)
        return self._accepted(claim.job)

    def _accepted(self, job: str) -> JobAccepted:
        return JobAccepted(id=job, href=self._hrefs.job(job), state=JobStateName.SUBMITTED)


def _position(problem: FieldProblem) -> tuple[int, str]:
    number = problem.path.removeprefix("items[").partition("]")[0]
    return (int(number) if number.isdigit() else -1, "")
