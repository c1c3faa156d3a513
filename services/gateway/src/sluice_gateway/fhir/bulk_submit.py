"""Bulk submissions: data of several manifests that are one, until their submitter says that it is whole.

A manifest is imported like any static export, and its import claims what it loads, so that it can be taken
back when the manifest is replaced or the submission stopped. Rows are written before anything is published;
whatever was not published then is when the request is repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from sluice_contracts.commands import StartBulkImport
from sluice_contracts.imports import ExportType, ImportRequest
from sluice_contracts.words import counted
from sluice_gateway.fhir.asynchronous import Told, not_available
from sluice_gateway.fhir.outcomes import Issue, Refusal, operation_outcome, refused
from sluice_gateway.fhir.pacing import Pacing
from sluice_gateway.fhir.pull_store import PullStore
from sluice_gateway.fhir.submission_access import SubmissionAccess
from sluice_gateway.fhir.submission_declared import MANIFEST, REPLACES, STATUS, SubmissionStatus
from sluice_gateway.fhir.submission_manifest import (
    STATUS_PLACE,
    Imports,
    ended,
    file_name,
    outcome_of,
    status_manifest,
)
from sluice_gateway.fhir.submission_parameters import (
    Submitted,
    SubmittedManifest,
    read_status_request,
    read_submission,
)
from sluice_gateway.fhir.submission_store import ManifestRow, OpenSubmission, SubmissionRow, SubmissionStore
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.job_ids import JobIds, lookup_id
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Quotas
from sluice_gateway.source_matching import SourceMatcher, source_for
from sluice_security.tokens import Principal


class BulkSubmit:
    """Takes submissions, and tells how they stand.

    Parameters
    ----------
    sources
        Where registered sources are looked up.
    store, pulls, quotas
        What is known of submissions and of imports, and what is counted.
    commands
        Puts commands on Kafka.
    access
        Judges how manifests and their files are to be read.
    pacing
        How often a client polls.
    ids
        Makes imports' ids.
    now
        The wall clock, Unix seconds.
    """

    def __init__(
        self,
        sources: SourceMatcher,
        store: SubmissionStore,
        pulls: PullStore,
        quotas: Quotas,
        commands: Commands,
        access: SubmissionAccess,
        pacing: Pacing,
        *,
        ids: JobIds,
        hrefs: Hrefs,
        now: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._store = store
        self._pulls = pulls
        self._quotas = quotas
        self._commands = commands
        self.access = access
        self._pacing = pacing
        self._ids = ids
        self._hrefs = hrefs
        self._now = now

    async def submit(self, who: Principal, body: bytes) -> dict[str, Any]:
        """Do what a request to `$bulk-submit` says, and give the OperationOutcome that says so.

        The same request again changes nothing.

        Raises
        ------
        Problem
            400 with all that is wrong, 409: the submission takes no more; nothing was done then. 429 or 503:
            repeat the request.
        """
        await self._quotas.take(who.client)
        asked = read_submission(body)
        start = None if asked.manifest is None else await self._start(who, asked.manifest)
        async with self._store.open(who.client, who.subject, asked.submitter, self._time()) as opened:
            # Of an earlier request whose record did not get to Kafka, too.
            waiting = [each.start for each in opened.row.manifests if each.start is not None]
            if not _repeated(opened.row, asked):
                waiting += await self._change(opened, asked, start)
        for each in waiting:
            await self._commands.start(each, withdraw=False)
        if waiting:
            await self._store.published([each.job for each in waiting])
        notes = (f"The submission is {asked.status}.", *asked.notes)
        told = [Issue(code="informational", text=each, severity="information") for each in notes]
        return operation_outcome(told)

    async def ask(self, who: Principal, body: bytes, base: str) -> str:
        """Ask for the status of a submission, and give the address, below `base`, to poll.

        Raises
        ------
        Problem
            400 with all that is wrong, 404: they have no such submission, 429.
        """
        await self._quotas.take(who.client)
        submitter = read_status_request(body)
        found = await self._store.ask(who.client, who.subject, submitter, self._time())
        if found is None:
            raise refused(404, "not-found", "There is no such submission.")
        return self._hrefs(f"{base}/{STATUS_PLACE}/{found}")

    async def poll(self, who: Principal, submission: str, base: str) -> Told:
        """Tell how a submission stands; addresses in the answer are below `base`.

        Raises
        ------
        Refusal
            404: they have no such submission, or have not asked for its status; 429: they poll too often.
        """
        pace = (who.client, who.subject, submission)
        self._pacing.check(pace)
        row = await self._find(who, submission)
        imports = await self._imports(row)
        over = [each for each in row.manifests if ended(row, each, imports[each.job])]
        manifest = status_manifest(row, imports, base, self._hrefs, self._time())
        if row.ended_at is not None and len(over) == len(row.manifests):
            self._pacing.forget(pace)
            return Told(200, manifest=manifest)
        # There may be more to come, whatever their number.
        said = f"{len(over)} of {counted(len(row.manifests), 'manifest')}; the submission is {row.status}"
        age = self._now() - (row.ended_at or row.created_at).timestamp()
        waiting = self._pacing.wait(pace, age)
        return Told(202, {"X-Progress": said, "Retry-After": str(waiting)}, manifest)

    async def outcome(self, who: Principal, submission: str, name: str) -> bytes:
        """Give the file with the outcome of a manifest that has ended.

        Raises
        ------
        Refusal
            404: they have no such file.
        """
        row = await self._find(who, submission)
        manifest = next((each for each in row.manifests if file_name(each.number) == name), None)
        found = None if manifest is None else await self._pulls.get(manifest.job)
        if manifest is None or not ended(row, manifest, found):
            raise not_available()
        return msgspec.json.encode(operation_outcome([outcome_of(row, manifest, found)])) + b"\n"

    async def forget(self, who: Principal, submission: str) -> None:
        """End a request for a submission's status; the submission itself goes on.

        Raises
        ------
        Refusal
            404: they have none.
        """
        row = await self._find(who, submission)
        await self._store.forget(row.id)

    async def _start(self, who: Principal, manifest: SubmittedManifest) -> StartBulkImport:
        source = await source_for(self._sources, manifest.url, who.client)
        if source is None:
            text = f"{MANIFEST} must be on a registered source server. Ask the operators to register it."
            raise _wrong(400, MANIFEST, "not-supported", text)
        job, at = self._ids.new(who)
        request = ImportRequest(
            source=source.id,
            url=manifest.url,
            export_type=ExportType.STATIC,
            base=manifest.base,
            claims=True,
            submitted=self.access.seal(manifest, source, job),
        )
        return StartBulkImport(
            job=job, client=who.client, subject=who.subject, submitted_at=at, request=request
        )

    async def _change(
        self, opened: OpenSubmission, asked: Submitted, start: StartBulkImport | None
    ) -> list[StartBulkImport]:
        """Do what is asked for, and give the start of the import that loads its manifest, if it has one."""
        row, at = opened.row, self._time()
        if row.status is not SubmissionStatus.IN_PROGRESS:
            text = f"The submission is {row.status}: it takes no more requests."
            raise _wrong(409, STATUS, "business-rule", text)
        replaced = None if asked.replaces is None else _replaced(row, asked.replaces)
        if asked.manifest is not None and start is not None:
            if _known(row, asked.manifest.url) is not None:
                raise _wrong(400, MANIFEST, "duplicate", f"{MANIFEST} was submitted before.")
            if replaced is not None:
                request = msgspec.structs.replace(start.request, after=replaced.job)
                start = msgspec.structs.replace(start, request=request)
            await opened.add(asked.manifest, None if replaced is None else replaced.number, start)
        if replaced is not None:
            await opened.discard(replaced.number, at)
        if asked.status is SubmissionStatus.STOPPED:
            # One that has just been added is stopped before it begins.
            for number in range(1, len(row.manifests) + 1 + (start is not None)):
                await opened.discard(number, at)
        if asked.status is not SubmissionStatus.IN_PROGRESS:
            await opened.end(asked.status, at)
        return [] if start is None else [start]

    async def _find(self, who: Principal, submission: str) -> SubmissionRow:
        row = await self._store.get(lookup_id(submission))
        if row is None or not row.asked or (row.client, row.subject) != (who.client, who.subject):
            raise not_available()
        return row

    async def _imports(self, row: SubmissionRow) -> Imports:
        jobs = [each.job for each in row.manifests]
        return dict(zip(jobs, await asyncio.gather(*map(self._pulls.get, jobs)), strict=True))

    def _time(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)


def _known(row: SubmissionRow, url: str) -> ManifestRow | None:
    return next((each for each in row.manifests if each.url == url), None)


def _replaced(row: SubmissionRow, url: str) -> ManifestRow:
    found = _known(row, url)
    if found is None:
        text = f"{REPLACES} must be the address of a manifest of this submission."
        raise _wrong(400, REPLACES, "not-found", text)
    if found.replaced_at is not None:
        raise _wrong(400, REPLACES, "duplicate", "The manifest was replaced before.")
    return found


def _repeated(row: SubmissionRow, asked: Submitted) -> bool:
    """Say whether this very request has been carried out: its answer may have been lost."""
    if asked.status is not row.status:
        return False
    replaced = None if asked.replaces is None else _known(row, asked.replaces)
    if asked.replaces is not None and (replaced is None or replaced.replaced_at is None):
        return False
    if asked.manifest is None:
        return asked.replaces is not None or row.status is not SubmissionStatus.IN_PROGRESS
    known = _known(row, asked.manifest.url)
    number = None if replaced is None else replaced.number
    if known is None or (known.base, known.replaces) != (asked.manifest.base, number):
        return False
    # One that was replaced since is not there again because it is sent again.
    return known.replaced_at is None or row.status is SubmissionStatus.STOPPED


def _wrong(status: int, name: str, code: str, text: str) -> Refusal:
    place = (f"Parameters.parameter.where(name='{name}')",)
    return Refusal(status, [Issue(code=code, text=text, expression=place)])
