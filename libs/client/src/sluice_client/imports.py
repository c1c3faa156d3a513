"""Importing documents, and following the jobs that do it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from uuid import uuid4

from sluice_client.api import PAGE, step
from sluice_client.errors import WaitTimeoutError
from sluice_client.importing import MOST_ITEMS, chunks, placed
from sluice_client.jobs import ADVANCE, JobCalls
from sluice_client.models import (
    ConflictResolution,
    ImportItem,
    ImportRequest,
    ImportResult,
    Job,
    JobAccepted,
    JobSummary,
)

_IMPORTS = "/v2/bulk/fhir"


class ImportCalls(JobCalls):
    """What is about imports."""

    async def import_documents(
        self,
        items: Sequence[ImportItem | str],
        *,
        project: str | None = None,
        parent: str | None = None,
        conflict_resolution: ConflictResolution | None = None,
        tags: Sequence[str] | None = None,
        key: str | None = None,
        accepted: Callable[[JobAccepted], None] | None = None,
    ) -> list[JobAccepted]:
        """Import documents; gives the jobs, one for every 100 items, in order.

        Parameters
        ----------
        items
            Items, or addresses of DocumentReferences that go to `project` or the folder `parent`.
        key
            Makes the call safe to repeat: with the same key and items, the same jobs are given again, for a
            day. Without one each call imports anew (and its own retries are safe all the same).
        accepted
            Told of each job as soon as it is accepted.

        Raises
        ------
        ApiError
            A call was refused. Jobs accepted before it go on; `accepted` was told of them.

        Examples
        --------
        >>> jobs = await sluice.import_documents(references, project="ann/heart-study", tags=["2026"])
        """
        made = placed(items, project, parent)
        base = key or str(uuid4())
        jobs: list[JobAccepted] = []
        for number, part in enumerate(chunks(made, MOST_ITEMS)):
            request = ImportRequest(items=part, conflict_resolution=conflict_resolution, tags=tags)
            headers = {**ADVANCE, "Idempotency-Key": f"{base}-{number}"}
            job = await self.call(
                "POST", _IMPORTS, JobAccepted, body=request, headers=headers, repeatable=True
            )
            jobs.append(job)
            if accepted is not None:
                accepted(job)
        return jobs

    def jobs(self) -> AsyncIterator[JobSummary]:
        """Go through your import jobs, newest first."""
        return self.pages(_IMPORTS, JobSummary, {})

    async def job(self, job: str, *, results: int = PAGE) -> Job:
        """Give a job as it stands, with its first `results` results (at most 100)."""
        return await self.get(f"{_IMPORTS}/{step(job)}", Job, {"limit": results})

    async def results(self, job: str) -> AsyncIterator[ImportResult]:
        """Go through a job's results in the order of its request."""
        offset = 0
        while True:
            page = await self.get(f"{_IMPORTS}/{step(job)}", Job, {"limit": PAGE, "offset": offset})
            for result in page.result:
                yield result
            offset += len(page.result)
            if not page.result or offset >= page.counts.total:
                return

    async def cancel(self, job: str) -> JobSummary:
        """Cancel a document import: items that have not ended will not; files that are there stay."""
        return await self.call("DELETE", f"{_IMPORTS}/{step(job)}", JobSummary)

    async def watch(
        self, jobs: Sequence[str], *, interval: float = 0.5, longest: float = 5.0
    ) -> AsyncIterator[Job]:
        """Give each of the jobs whenever it has changed, until all have finished.

        Polls every `interval` seconds, less often (up to `longest`) while nothing changes.
        """
        open_jobs = dict.fromkeys(jobs)
        seen: dict[str, Job] = {}
        pause = interval
        while open_jobs:
            changed = False
            for job in await asyncio.gather(*(self.job(job, results=0) for job in open_jobs)):
                if seen.get(job.id) != job:
                    seen[job.id] = job
                    changed = True
                    yield job
                if job.finished:
                    open_jobs.pop(job.id, None)
            if open_jobs:
                pause = interval if changed else min(longest, pause * 1.5)
                await asyncio.sleep(pause)

    async def wait_all(
        self,
        jobs: Sequence[str],
        *,
        timeout: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> list[Job]:
        """Wait until the jobs have finished; gives them in the order asked for.

        Raises
        ------
        WaitTimeoutError
            One had not finished after `timeout` seconds.
        """
        last: dict[str, Job] = {}
        try:
            async with asyncio.timeout(timeout):
                async for job in self.watch(jobs):
                    last[job.id] = job
                    if on_change is not None:
                        on_change(job)
        except TimeoutError:
            raise WaitTimeoutError(
                "The job has not finished in time.", "It goes on; look again later."
            ) from None
        return [last[job] for job in jobs]

    async def wait(self, job: str, *, timeout: float | None = None) -> Job:
        """Wait until one job has finished; otherwise as `wait_all`."""
        return (await self.wait_all([job], timeout=timeout))[0]
