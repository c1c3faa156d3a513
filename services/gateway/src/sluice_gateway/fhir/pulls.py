"""Bulk imports from their owner's side: beginning, polling, reading what became of them, deleting.

Whoever is not an import's owner (the client and the subject of the token it was begun with) is told the same,
and after the same work, as about an import that never was.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from sluice_contracts.commands import CancelBulkImport, StartBulkImport
from sluice_contracts.events import JobOutcome
from sluice_contracts.imports import ImportRequest
from sluice_gateway.accepting import Accepting
from sluice_gateway.etas import Etas, left
from sluice_gateway.fhir.asynchronous import Told, not_available, owned
from sluice_gateway.fhir.outcomes import Issue, Refusal, refused
from sluice_gateway.fhir.pacing import Pacing
from sluice_gateway.fhir.pull_bundles import Bundles
from sluice_gateway.fhir.pull_outcomes import error_text, errors, information
from sluice_gateway.fhir.pull_parameters import URL, Wanted
from sluice_gateway.fhir.pull_store import PullRow, PullStore
from sluice_gateway.fhir.v3.manifest import instant
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.idempotency import digest
from sluice_gateway.job_ids import JobIds, lookup_id
from sluice_gateway.problems import Problem
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Quotas
from sluice_gateway.source_matching import SourceMatcher, source_for
from sluice_security.tokens import Principal
from sluice_storage.pool import TRANSIENT

SCOPE = "bulk/import"
INFORMATION = "info_file_1.ndjson"
ERRORS = "errors_file_1.ndjson"
_OUTCOME = "OperationOutcome"


class Pulls:
    """Accepts bulk imports, and tells how they stand.

    Parameters
    ----------
    sources
        Where registered sources are looked up.
    store, quotas
        What is known of imports, and what is counted.
    accepting, commands
        Accepts jobs of this kind; puts commands on Kafka.
    pacing
        How often a client polls.
    bundles
        Writes what imports brought as Bundles.
    ids
        Reads imports' ids.
    etas
        Tells when running imports will end.
    relative
        Give `Content-Location` without scheme and host, as seed clients of the test server expect.
    now
        The wall clock, Unix seconds.
    """

    def __init__(
        self,
        sources: SourceMatcher,
        store: PullStore,
        quotas: Quotas,
        accepting: Accepting,
        commands: Commands,
        pacing: Pacing,
        bundles: Bundles,
        *,
        ids: JobIds,
        hrefs: Hrefs,
        etas: Etas,
        relative: bool,
        now: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._store = store
        self._quotas = quotas
        self._accepting = accepting
        self._commands = commands
        self._pacing = pacing
        self._bundles = bundles
        self._ids = ids
        self._hrefs = hrefs
        self._etas = etas
        self._relative = relative
        self._now = now

    async def start(
        self, who: Principal, read: Callable[[], Wanted], idempotency_key: str | None = None
    ) -> str:
        """Accept an import and give its id: its first record is acknowledged on Kafka then.

        Parameters
        ----------
        read
            Gives what is wanted, or raises; what is refused counts too, so that a loop is held up.

        Raises
        ------
        Problem
            400 with all that is wrong, 422, 429 or 503; nothing was done then.
        """
        await self._quotas.take(who.client)
        return await self.begin(who, read(), idempotency_key)

    async def begin(
        self,
        who: Principal,
        wanted: Wanted,
        idempotency_key: str | None = None,
        *,
        report: bytes | None = None,
    ) -> str:
        """Accept an import that has been read and counted, and give its id.

        Parameters
        ----------
        report
            The MeasureReport that the data are submitted with.

        Raises
        ------
        Problem
            400: its source is not registered; 422, 429 or 503; nothing was done then.
        """
        source = await source_for(self._sources, wanted.url, who.client)
        if source is None:
            text = f"{URL} must be on a registered source server. Ask the operators to register it."
            place = (f"Parameters.parameter.where(name='{URL}')",)
            raise Refusal(400, [Issue(code="not-supported", text=text, expression=place)])
        request = ImportRequest(
            source=source.id,
            url=wanted.url,
            export_type=wanted.export_type,
            report=None if report is None else report.decode(),
            strict=wanted.strict,
        )
        return await self._begin(who, request, idempotency_key)

    def location(self, base: str, job: str) -> str:
        """Give the address at which an import is polled, below the base that it was begun at."""
        path = f"{base}/bulkstatus/{job}"
        return path.lstrip("/") if self._relative else self._hrefs(path)

    async def poll(self, who: Principal, job: str, base: str) -> Told:
        """Tell how an import stands; addresses in the answer are below `base`.

        Raises
        ------
        Refusal
            404: they have no such import; 429: they poll too often; 500: it has failed.
        """
        pace = (who.client, who.subject, job)
        self._pacing.check(pace)
        row = await self._find(who, job)
        if row.outcome is None or row.finished_at is None:
            age = 0.0 if row.submitted_at is None else self._now() - row.submitted_at.timestamp()
            waiting = self._pacing.wait(pace, age)
            return Told(202, {"X-Progress": self._progress(job, row), "Retry-After": str(waiting)})
        self._pacing.forget(pace)
        if row.outcome == JobOutcome.FAILED and (row.files is None or row.failed is not None):
            more = "" if row.failed_status is None else f" The source answered {row.failed_status}."
            if row.files is not None:
                more = f" What is wrong is listed at {self._hrefs(f'{base}/{job}/{ERRORS}')}."
            raise refused(500, "exception", f"The import has failed: {error_text(row.failed)}{more}")
        return Told(200, manifest=self._manifest(job, base, row, row.finished_at))

    async def outcomes(self, who: Principal, job: str, name: str) -> AsyncGenerator[bytes]:
        """Give one of an ended import's files of outcomes, in pieces.

        Raises
        ------
        Refusal
            404: they have no such file.
        """
        row = await self._find(who, job)
        if row.outcome is None or row.files is None or (name == ERRORS and not row.problems):
            raise not_available()
        return information(self._store, job, row) if name == INFORMATION else errors(self._store, job, row)

    async def bundles(self, who: Principal, job: str) -> AsyncGenerator[bytes]:
        """Give what an ended import brought as NDJSON of Bundles, in pieces.

        Raises
        ------
        Refusal
            404: they have no such import that has ended.
        """
        row = await self._find(who, job)
        if row.outcome is None or row.files is None:
            raise not_available()
        return self._bundles.write(job, row.base)

    async def delete(self, who: Principal, job: str) -> None:
        """Cancel an import, or forget one that has ended; what was loaded stays.

        Raises
        ------
        Refusal
            404: they have no such import.
        """
        row = await self._find(who, job)
        if not await self._store.withdraw(job, datetime.fromtimestamp(self._now(), UTC)):
            raise not_available()
        if row.outcome is not None:
            return
        try:
            await self._commands.cancel(job, CancelBulkImport(job=job))
        except (Problem, *TRANSIENT):
            # It is marked, and due: the puller finds it without being told.
            return

    def _progress(self, job: str, row: PullRow) -> str:
        eta = None if row.files is None else self._etas.told(job)
        return _progress(row) + left(eta, self._now())

    async def _begin(self, who: Principal, request: ImportRequest, idempotency_key: str | None) -> str:
        wanted = digest("$import", msgspec.json.encode(request))
        claim = await self._accepting.claim(who, idempotency_key, wanted)
        if claim.published:
            return claim.job
        command = StartBulkImport(
            job=claim.job, client=who.client, subject=who.subject, submitted_at=claim.at, request=request
        )
        await self._accepting.begin(claim, command)
        return claim.job

    async def _find(self, who: Principal, job: str) -> PullRow:
        row = await self._store.get(lookup_id(job))
        if row is None and (at := self._ids.unseen(who, job)) is not None:
            row = PullRow.accepted(who.client, who.subject, at)
        return owned(who, row)

    def _manifest(self, job: str, base: str, row: PullRow, at: datetime) -> dict[str, Any]:
        told = self._hrefs(f"{base}/{job}/{INFORMATION}")
        shown: dict[str, Any] = {
            "transactionTime": instant(at),
            "requiresAccessToken": True,
            "outcome": [{"type": _OUTCOME, "url": told}],
            # A line for each file, and one for all of them.
            "output": [{"type": _OUTCOME, "url": told, "count": (row.files or 0) + 1}],
            "error": [],
        }
        if row.source_time is not None:
            # The next import's _since. What is transactionTime here is this service's time, not the source's.
            shown["extension"] = {"sourceTransactionTime": instant(row.source_time)}
        if row.problems:
            url = self._hrefs(f"{base}/{job}/{ERRORS}")
            shown["error"].append({"type": _OUTCOME, "url": url, "count": row.problems})
        return shown


def _progress(row: PullRow) -> str:
    """Say how far an import is; the first words are those of the server that clients know."""
    if row.files is None:
        at_source = "" if row.progress is None else f" ({row.progress}% at the source)"
        return f'"Retrieving export files"{at_source}'
    if row.expected:
        share = min(row.lines, row.expected) * 100 // row.expected
    else:
        share = row.settled * 100 // row.files if row.files else 100
    # All files may be loaded a moment before the job is known to have ended.
    return f"{min(share, 99)}%"
