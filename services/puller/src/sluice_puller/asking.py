"""One step at a source: kick off, poll, read the manifest to its last page, or delete the export there.

It decides what a step comes to, and keeps it; it tells nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from sluice_contracts.bounds import MOST_ITEMS
from sluice_contracts.errors import ItemError
from sluice_contracts.imports import ExportType
from sluice_fhir.export_calls import Accepted, Complete, Running
from sluice_fhir.export_manifest import ListedFile, read_manifest
from sluice_fhir.sources import Source, SourceLookup
from sluice_fhir.submitted import Submitted, SubmittedSeal
from sluice_puller.decrypting import plain_page
from sluice_puller.store import FilesPlan, Jobs, Next, Phase, PullJob
from sluice_security.failure import SourceFailure

log = structlog.get_logger(__name__)

_PAGES = 1000
_RELEASES = 5
_LONGEST_STRIKE = 8


class Remote(Protocol):
    """Asks sources; `sluice_fhir.export_calls.ExportCalls` does. Every method raises `SourceFailure`."""

    async def kick_off(self, source: Source, url: str) -> Accepted: ...  # noqa: D102
    async def poll(  # noqa: D102
        self, source: Source, url: str, submitted: Mapping[str, str]
    ) -> Running | Complete: ...
    async def release(self, source: Source, url: str) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Patience:
    """How a source is waited for.

    Parameters
    ----------
    first
        How long to wait between the kick-off and the first poll, unless the source says.
    least, most
        The bounds of any other wait between two steps, whatever the source says.
    whole
        How long its export may take: how long it is waited for in all, times when we were away left out.
    strikes
        How many failures in a row, which may each pass, are too many. Being asked to slow down is none.
    """

    first: timedelta
    least: timedelta
    most: timedelta
    whole: timedelta
    strikes: int

    def wait(self, after: float | None, strikes: int, turn: int) -> timedelta:
        """Give how long to wait, where the source asks for `after` seconds.

        Without its word the wait grows with every step, and doubles with every failure. What was just kicked
        off is looked at soon: a small export is often there at once.
        """
        if turn == 0 and after is None and not strikes:
            return self.first
        wanted = self.least * 1.5 ** min(max(turn - 1, 0), 20)
        if after is not None:
            wanted = timedelta(seconds=min(after, 1e6))
        if strikes:
            wanted = max(wanted, self.least * 2 ** min(strikes, _LONGEST_STRIKE))
        return min(max(wanted, self.least), self.most)


class Asking:
    """Takes jobs' steps.

    Parameters
    ----------
    jobs
        Where what they come to is kept.
    sources, remote
        Where sources are looked up, and what asks them.
    patience
        How they are waited for.
    delete
        Delete exports at their sources when their files are loaded, or not wanted any more.
    seal
        Opens what submitters handed over.
    depth
        How deep a manifest may nest.
    now
        Gives the time.
    """

    def __init__(
        self,
        jobs: Jobs,
        sources: SourceLookup,
        remote: Remote,
        patience: Patience,
        seal: SubmittedSeal,
        now: Callable[[], datetime],
        *,
        delete: bool,
        depth: int,
        expect: Callable[[datetime], None],
    ) -> None:
        self._jobs = jobs
        self._sources = sources
        self._remote = remote
        self._patience = patience
        self._seal = seal
        self._now = now
        self._delete = delete
        self._depth = depth
        self._expect = expect

    async def step(self, job: PullJob) -> None:
        """Take the job's step of this turn, and keep what it comes to.

        Raises
        ------
        Unavailable
            The database is away; the step may be taken again.
        """
        if job.phase is Phase.RELEASING:
            await self._release(job)
        elif job.phase in (Phase.STARTING, Phase.POLLING):
            try:
                await self._ask(job)
            except SourceFailure as failure:
                await self._failed(job, failure)

    async def _ask(self, job: PullJob) -> None:
        source = await self._source(job)
        request = job.request
        if source is None or request is None:
            raise SourceFailure(ItemError.SOURCE_UNKNOWN)
        if request.after is not None and not await self._jobs.removed(request.after):
            await self._jobs.wait(job.job, job.turn, self._after(self._patience.least))
            return
        place = job.poll_url or (request.url if request.export_type is ExportType.STATIC else None)
        if place is None:
            accepted = await self._remote.kick_off(source, request.url)
            # Kept before it is polled: a crash from here on finds the export again.
            wait = self._patience.wait(accepted.after, 0, 0)
            await self._wait(job, self._after(wait, poll_url=accepted.url))
            return
        submitted = self._seal.open(request.submitted, job.job)
        source = submitted.authorizing(source)
        answer = await self._remote.poll(source, place, submitted.headers)
        if isinstance(answer, Complete):
            plan = await self._read(source, answer, submitted)
            await self._jobs.plan(job.job, job.turn, plan, self._now())
            return
        if self._late(job):
            raise SourceFailure(ItemError.EXPORT_TIMEOUT)
        wait = self._patience.wait(answer.after, 0, job.turn)
        await self._wait(job, self._after(wait, progress=answer.progress))

    async def _read(self, source: Source, first: Complete, submitted: Submitted) -> FilesPlan:
        """Read a manifest, page after page.

        Raises
        ------
        SourceFailure
            `BAD_MANIFEST`: it is none, goes round in a circle, or lists more than can be told apart.
            `NOT_DECRYPTED`: it is not encrypted with the key that was submitted.
        """
        page = read_manifest(await plain_page(first.body, submitted), first.url, self._depth)
        time, needs_token = page.transaction_time, page.requires_token
        files: dict[str, ListedFile] = {file.url: file for file in page.files}
        seen = {first.url}
        while page.following is not None:
            if page.following in seen or len(seen) >= _PAGES:
                raise SourceFailure(ItemError.BAD_MANIFEST)
            seen.add(page.following)
            answer = await self._remote.poll(source, page.following, submitted.headers)
            if not isinstance(answer, Complete):
                # What a complete manifest links to is there (version 3.0.0, "Response - Output Manifest").
                raise SourceFailure(ItemError.BAD_MANIFEST)
            page = read_manifest(await plain_page(answer.body, submitted), answer.url, self._depth)
            for file in page.files:
                files.setdefault(file.url, file)
            needs_token = needs_token or page.requires_token
            if len(files) >= MOST_ITEMS:
                raise SourceFailure(ItemError.BAD_MANIFEST)
        return FilesPlan(source.base_url, time, needs_token, tuple(files.values()))

    async def _failed(self, job: PullJob, failure: SourceFailure) -> None:
        strikes = job.strikes + (failure.code is not ItemError.SOURCE_THROTTLED)
        if failure.retry and strikes < self._patience.strikes and not self._late(job):
            wait = self._patience.wait(failure.after, strikes, job.turn)
            await self._wait(job, self._after(wait, strikes=strikes))
            return
        log.info("an import cannot go on", job=job.job, code=str(failure.code), status=failure.status)
        await self._jobs.fail(job.job, job.turn, failure.code, failure.status, self._now())

    async def _release(self, job: PullJob) -> None:
        """Delete the export at its source: a courtesy, which nothing waits for."""
        source = await self._source(job)
        if self._delete and source is not None and job.poll_url is not None:
            try:
                await self._remote.release(source, job.poll_url)
            except SourceFailure as failure:
                strikes = job.strikes + 1
                if failure.retry and strikes < _RELEASES:
                    wait = self._patience.wait(failure.after, strikes, 0)
                    await self._wait(job, self._after(wait, strikes=strikes))
                    return
                log.info("an export stays at its source", job=job.job, code=str(failure.code))
        await self._jobs.done(job.job, job.turn)

    async def _source(self, job: PullJob) -> Source | None:
        return None if job.request is None else await self._sources.get(job.request.source)

    async def _wait(self, job: PullJob, then: Next) -> None:
        await self._jobs.wait(job.job, job.turn, then)
        self._expect(then.due)

    def _after(
        self, wait: timedelta, *, strikes: int = 0, poll_url: str | None = None, progress: int | None = None
    ) -> Next:
        return Next(self._now() + wait, wait, strikes, poll_url, progress)

    def _late(self, job: PullJob) -> bool:
        return job.waited > self._patience.whole
