"""Bulk imports: the service pulls what a registered source exports; here they are begun and followed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from msgspec import Struct, field

from sluice_client.api import Api, decoded, step
from sluice_client.errors import DownloadError, SluiceError, WaitTimeoutError
from sluice_client.exports import FHIR, Pause
from sluice_client.pull_requests import Pulled, PullManifest, PullOutcome, PullRequest, PullStatus
from sluice_client.transport import Answer, retry_after, unreachable

_JSON = "application/fhir+json"
_MOST_PROBLEMS = 100


class _Details(Struct):
    text: str = ""


class _Issue(Struct):
    severity: str = "error"
    code: str = ""
    diagnostics: str = ""
    details: _Details = field(default_factory=_Details)


class _Outcome(Struct):
    issue: list[_Issue] = []


class PullCalls(Api):
    """What is about bulk imports; needs the scope `bulk/import`."""

    async def start_pull(self, request: PullRequest, *, key: str | None = None) -> str:
        """Have the service import what a source exports; gives the import's id.

        Parameters
        ----------
        key
            Makes the call safe to repeat: with the same key and request, the same import is given again, for
            a day. Without one each call starts another (and its own retries are safe all the same).

        Raises
        ------
        ApiError
            It is refused: the source is not registered, or the source cannot be asked for this.

        Examples
        --------
        >>> request = PullRequest(export_url="https://fhir.example/r4/$export", types=("Patient",))
        >>> job = await sluice.start_pull(request)
        """
        request.check()
        answer = await self.kick_off("/$import", request.parameters(), key)
        return job_of(answer)

    async def pull_status(self, job: str) -> PullStatus:
        """Ask how an import stands.

        Raises
        ------
        ApiError
            The import failed, or it is not there (404): unknown, cancelled, deleted or someone else's.
        """
        answer = await self.send("GET", _place(job), headers={"Accept": "application/json"})
        if answer.status == 202:
            progress = answer.headers.get("X-Progress", "")
            return PullStatus(job=job, progress=progress, retry_after=retry_after(answer.headers))
        return PullStatus(job=job, manifest=decoded(answer.body, PullManifest))

    async def wait_for_pull(
        self,
        job: str,
        *,
        timeout: float | None = None,
        on_status: Callable[[PullStatus], None] | None = None,
        problems: int = _MOST_PROBLEMS,
    ) -> Pulled:
        """Wait until an import has ended; gives what it came to.

        Polls as often as the service asks for.

        Parameters
        ----------
        on_status
            Is told how it stands after each poll.
        problems
            How many of the problems to give; all are counted.

        Raises
        ------
        ApiError
            The import failed as a whole: nothing was loaded.
        WaitTimeoutError
            It had not ended after `timeout` seconds.
        """
        pause = Pause()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    status = await self.pull_status(job)
                    if on_status is not None:
                        on_status(status)
                    if status.manifest is not None:
                        break
                    await pause.take(status.retry_after)
        except TimeoutError:
            raise WaitTimeoutError(
                "The import has not ended in time.", "It goes on; look again later."
            ) from None
        return await self._result(job, status.manifest, problems)

    async def pull(
        self,
        request: PullRequest,
        *,
        key: str | None = None,
        timeout: float | None = None,
        on_status: Callable[[PullStatus], None] | None = None,
        problems: int = _MOST_PROBLEMS,
    ) -> Pulled:
        """Import what a source exports, and wait for its end; see `start_pull` and `wait_for_pull`.

        Examples
        --------
        >>> done = await sluice.pull(PullRequest(export_url=url, types=("Patient", "Condition")))
        >>> for each in (*done.outcomes, *done.problems):
        ...     print(each.severity, each.text)
        """
        job = await self.start_pull(request, key=key)
        return await self.wait_for_pull(job, timeout=timeout, on_status=on_status, problems=problems)

    async def pull_outcomes(self, job: str, *, errors: bool = False) -> AsyncIterator[PullOutcome]:
        """Go through what became of an ended import's files, or with `errors` through all that went wrong."""
        manifest = (await self.pull_status(job)).manifest
        if manifest is None:
            raise SluiceError("The import has not ended.", "Wait for it.")
        for listed in manifest.error if errors else manifest.output:
            async with aclosing(self._outcomes(listed.url)) as outcomes:
                async for each in outcomes:
                    yield each

    async def pull_bundles(self, job: str) -> AsyncGenerator[bytes]:
        """Give what an ended import brought, as NDJSON of transaction Bundles, in pieces as they come.

        One Bundle for each patient comes first, then what is about nobody.

        Raises
        ------
        ApiError
            The import is not there (404), has not ended, or too many are read at once (429).
        UnreachableError
            It broke off: begin anew.
        """
        url = f"{_place(job)}/bundles"
        try:
            async with self.stream(url) as response:
                async for piece in response.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(url, error) from error

    async def save_pull_bundles(self, job: str, target: Path) -> int:
        """Write what an ended import brought to a file; gives its bytes.

        The file is there whole or not at all; otherwise as `pull_bundles`.

        Raises
        ------
        DownloadError
            It cannot be written.
        """
        part, size = target.with_name(f"{target.name}.part"), 0
        try:
            with part.open("wb") as out:
                async with aclosing(self.pull_bundles(job)) as pieces:
                    async for piece in pieces:
                        size += out.write(piece)
            part.replace(target)
        except OSError as error:
            raise DownloadError(f"{target} cannot be written: {error.strerror}.") from error
        finally:
            part.unlink(missing_ok=True)
        return size

    async def cancel_pull(self, job: str) -> None:
        """Cancel an import, or forget one that has ended; what was loaded stays."""
        await self.send("DELETE", _place(job))

    async def kick_off(self, path: str, parameters: list[dict[str, Any]], key: str | None) -> Answer:
        """Ask for something that is answered later: its answer says where."""
        body = {"resourceType": "Parameters", "parameter": parameters}
        headers = {
            "Accept": _JSON,
            "Content-Type": _JSON,
            "Prefer": "respond-async",
            "Idempotency-Key": key or str(uuid4()),
        }
        return await self.send("POST", FHIR + path, body=body, headers=headers, repeatable=True)

    async def _result(self, job: str, manifest: PullManifest, most: int) -> Pulled:
        outcomes = [each for listed in manifest.output for each in await self._all(listed.url)]
        counts: Counter[str] = Counter()
        found: list[PullOutcome] = []
        for listed in manifest.error:
            async with aclosing(self._outcomes(listed.url)) as problems:
                async for each in problems:
                    counts[each.severity] += 1
                    if len(found) < most:
                        found.append(each)
        return Pulled(
            job=job,
            transaction_time=manifest.transaction_time,
            source_time=manifest.extension.source_transaction_time,
            outcomes=tuple(outcomes),
            problems=tuple(found),
            errors=counts["error"] + counts["fatal"],
            warnings=counts["warning"],
        )

    async def _all(self, url: str) -> list[PullOutcome]:
        return [each async for each in self._outcomes(url)]

    async def _outcomes(self, url: str) -> AsyncGenerator[PullOutcome]:
        """Read a file of outcomes, however long it is; one that breaks off is begun again where it did."""
        given = 0
        for attempt in range(1, self.transport.patience.attempts + 1):
            number = 0
            try:
                async with aclosing(self._lines(url)) as lines:
                    async for line in lines:
                        number += 1
                        if number > given:
                            given = number
                            for each in outcomes_in(line):
                                yield each
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                if attempt == self.transport.patience.attempts:
                    raise unreachable(url, error) from error
            else:
                return
            await self.transport.pause(attempt)

    async def _lines(self, url: str) -> AsyncGenerator[bytes]:
        async with self.stream(url) as response:
            held = b""
            async for piece in response.content.iter_any():
                *whole, held = (held + piece).split(b"\n")
                for line in filter(None, whole):
                    yield line
            if held:
                yield held


def job_of(answer: Answer) -> str:
    """Give the id of the import whose kick-off was answered.

    Raises
    ------
    SluiceError
        The answer does not say where it is.
    """
    job = answer.headers.get("Content-Location", "").rstrip("/").rpartition("/")[2]
    if answer.status != 202 or not job:
        raise SluiceError("The service does not say where the import is.", "Tell the operators.")
    return job


def _place(job: str) -> str:
    return f"{FHIR}/bulkstatus/{step(job)}"


def outcomes_in(body: bytes) -> list[PullOutcome]:
    """Read an OperationOutcome."""
    return [
        PullOutcome(severity=each.severity, code=each.code, text=each.details.text or each.diagnostics)
        for each in decoded(body, _Outcome).issue
    ]
