"""Jobs of every kind: listing them, following one as it goes, cancelling it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any
from uuid import uuid4

import aiohttp

from sluice_client.any_jobs import AnyJob, JobEvent, JobItem
from sluice_client.api import Api, decoded, step
from sluice_client.errors import ApiError, SluiceError, WaitTimeoutError
from sluice_client.exports import Pause
from sluice_client.models import JobAccepted
from sluice_client.server_events import ServerEvent, server_events
from sluice_client.transport import unreachable

_JOBS = "/v2/jobs"
# The import API asks for it; see the API's description of advance access.
ADVANCE = {"X-SBG-Advance-Access": "Advance"}
_ENDED, _SNAPSHOT = "JobFinished", "snapshot"
# The service says something every fifteen seconds.
_IDLE_SECONDS = 45.0
# Many events come at once; how the job stands is looked at after the first of them, and then again.
_BETWEEN = 0.25
# An event may come a moment before the job shows what it tells.
_AGAIN = 5.0
_PASSING = frozenset({429, 500, 502, 503, 504})


class JobCalls(Api):
    """What is about jobs of every kind."""

    def all_jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        begins: str | None = None,
    ) -> AsyncIterator[AnyJob]:
        """Go through jobs, newest first: your own or, with the scope `ops/jobs`, everyone's.

        Parameters
        ----------
        kind
            `document-import`, `bulk-import` or `bulk-export`.
        state, outcome
            `SUBMITTED`, `RUNNING` or `FINISHED`; `completed`, `cancelled` or `failed`.
        since
            Only those submitted then or later (aware).
        begins
            Only those whose id, or client's id, begins with this.
        """
        query = {
            "kind": kind,
            "state": state,
            "outcome": outcome,
            "since": None if since is None else since.isoformat(),
            "q": begins,
        }
        return self.pages(_JOBS, AnyJob, query)

    async def any_job(self, job: str) -> AnyJob:
        """Give a job of any kind as it stands."""
        return await self.get(_place(job), AnyJob)

    def job_items(self, job: str, *, state: str | None = None) -> AsyncIterator[JobItem]:
        """Go through those of a job's items of which anything is known, or those in one state."""
        return self.pages(f"{_place(job)}/items", JobItem, {"state": state})

    async def job_events(self, job: str) -> AsyncGenerator[JobEvent]:
        """Go through a job's events as they come, until it has ended.

        The first is a `snapshot` of how it stands. A stream that breaks off is taken up where it was.

        Raises
        ------
        ApiError
            There is no such job for you.
        UnreachableError
            The service could not be reached any more.
        """
        async with aclosing(self._events(f"{_place(job)}/events")) as events:
            async for event in events:
                yield JobEvent(event.type, event.id, decoded(event.data.encode(), dict[str, Any]))
                if event.type == _ENDED or _finished(event):
                    return

    async def job_changes(self) -> AsyncGenerator[AnyJob]:
        """Go through all jobs that you see as they change, the newest twenty first; it never ends by itself.

        Raises
        ------
        UnreachableError
            The service could not be reached any more.
        """
        async with aclosing(self._events(f"{_JOBS}/events")) as events:
            async for event in events:
                yield decoded(event.data.encode(), AnyJob)

    async def _events(self, path: str) -> AsyncGenerator[ServerEvent]:
        """Go through the events of a stream, again and again from where it broke off."""
        last, attempt = "", 0
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            try:
                async with self.stream(path, headers, idle=_IDLE_SECONDS) as answer:
                    if answer.status == 204:
                        return
                    async with aclosing(server_events(answer.content.iter_any())) as events:
                        async for event in events:
                            attempt, last = 0, event.id or last
                            yield event
            except ApiError as error:
                if error.status not in _PASSING or attempt >= self.transport.patience.attempts:
                    raise
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if attempt >= self.transport.patience.attempts:
                    raise unreachable(self.url, error) from error
            attempt += 1
            await self.transport.pause(attempt)

    async def wait_for_job(
        self, job: str, *, timeout: float | None = None, on_change: Callable[[AnyJob], None] | None = None
    ) -> AnyJob:
        """Wait until a job of any kind has finished, by its events; gives how it stands then.

        Parameters
        ----------
        on_change
            Is told how it stands whenever that has changed.

        Raises
        ------
        WaitTimeoutError
            It had not finished after `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._followed(job, on_change or _nobody)
        except TimeoutError:
            raise WaitTimeoutError(
                "The job has not finished in time.", "It goes on; look again later."
            ) from None

    async def _followed(self, job: str, told: Callable[[AnyJob], None]) -> AnyJob:
        changed = asyncio.Event()

        async def listen() -> None:
            async with aclosing(self.job_events(job)) as events:
                async for _ in events:
                    changed.set()

        listening = asyncio.create_task(listen())
        listening.add_done_callback(lambda _: changed.set())
        pause, seen = Pause(), None
        try:
            while True:
                ended = listening.done()
                if ended:
                    listening.result()
                changed.clear()
                now = await self.any_job(job)
                if now != seen:
                    seen = now
                    told(now)
                if now.finished:
                    return now
                if ended:
                    await pause.take(None)
                else:
                    await _set(changed)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def rerun(self, job: str, *, key: str | None = None) -> JobAccepted:
        """Import a finished document import's failed and cancelled items again, as a new job.

        Raises
        ------
        ApiError
            The job is of another kind (409), which is submitted anew; or nothing of it failed.
        """
        headers = {**ADVANCE, "Idempotency-Key": key or str(uuid4())}
        return await self.call("POST", f"{_place(job)}/rerun", JobAccepted, headers=headers, repeatable=True)

    async def cancel_job(self, job: str) -> None:
        """Cancel a job of any kind; what took effect stays, but for an export's files.

        Raises
        ------
        SluiceError
            It has finished already.
        """
        found = await self.any_job(job)
        if found.finished:
            raise SluiceError("The job has finished already.", "There is nothing to cancel.")
        await self.send("DELETE", found.result)

    async def delete_job(self, job: str) -> None:
        """Delete an export that has finished, with its files, or forget a bulk import; what it loaded stays.

        Raises
        ------
        SluiceError
            It is a document import, or has not finished.
        """
        found = await self.any_job(job)
        if found.kind == "document-import":
            raise SluiceError("Document imports are not deleted.", "Delete their files.")
        if not found.finished:
            raise SluiceError("The job has not finished.", "Cancel it.")
        await self.send("DELETE", found.result)


async def _set(changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_AGAIN):
            await changed.wait()
    except TimeoutError:
        return
    await asyncio.sleep(_BETWEEN)


def _finished(event: ServerEvent) -> bool:
    return event.type == _SNAPSHOT and decoded(event.data.encode(), AnyJob).finished


def _nobody(job: AnyJob) -> None:
    """Tell nobody."""


def _place(job: str) -> str:
    return f"{_JOBS}/{step(job)}"
