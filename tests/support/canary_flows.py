"""Ways that data take through the stack beside imports and exports, and where something is said of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from sluice_client import SluiceClient, Submission, SubmissionState
from support.hostile import HttpSource
from support.webhook_receiver import receiver

MEASURE = Path(__file__).parents[2] / "schemas/examples/measures/emergency-visits-bundle.json"
_URL = "http://example.org/sluice/Measure/emergency-visits"
EVENTS = ["job.planned", "job.finished", "item.failed", "file.loaded", "import.settled", "part.sealed"]


def _report(measure: str) -> bytes:
    period = {"start": "2026-01-01", "end": "2026-12-31"}
    kind = {"resourceType": "MeasureReport", "status": "complete", "type": "data-collection"}
    return json.dumps({**kind, "measure": measure, "period": period}).encode()


async def submit_data(operators: SluiceClient, person: dict[str, Any]) -> list[str]:
    """Give data for a measure, soundly and in vain; gives all that was said about it."""
    await operators.load_measures(MEASURE)
    broken = {**person, "id": "no id!"}
    said = [str(await operators.submit_data(None, _report(_URL), [json.dumps(person).encode()]))]
    for measure, resource in ((f"{_URL}-none", person), (_URL, broken)):
        try:
            said.append(
                str(await operators.submit_data(None, _report(measure), [json.dumps(resource).encode()]))
            )
        except Exception as error:  # whatever it is, it must not tell of the data
            said.append(f"{type(error).__name__} {error}")
    return said


async def bulk_submit(client: SluiceClient, source: HttpSource, files: list[dict[str, Any]]) -> list[str]:
    """Submit a manifest of these files; gives all that was said about it."""
    manifest = {"transactionTime": "2026-01-01T00:00:00Z", "requiresAccessToken": False, "output": files}
    source.on("/fhir/submitted", json.dumps(manifest).encode())
    submission = Submission(submitter="ward-3", name="canaries", system="urn:wards")
    await client.bulk_submit(submission, manifest=f"{source.base}/submitted", base=source.base)
    await client.bulk_submit(submission, state=SubmissionState.COMPLETED)
    status = await client.wait_for_submission(submission, timeout=120)
    outcomes = await client.submission_outcomes(status)
    assert outcomes
    return [str(status), *map(str, outcomes)]


@asynccontextmanager
async def watched(client: SluiceClient, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Have everything told to `say` that a webhook and a stream of events tell of the client's jobs."""
    changes: list[str] = []

    async def follow() -> None:
        async for job in client.job_changes():
            changes.append(str(job))
            say(changes[-1])

    async with receiver() as to:
        hook = await client.add_webhook(to.url, EVENTS)
        to.secret = hook.secret or ""
        following = asyncio.create_task(follow())
        try:
            yield
            await to.until(4)
            async with asyncio.timeout(120):
                while not any("FINISHED" in change for change in changes):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError, aiohttp.ClientError):
                await following
            await client.remove_webhook(hook.id)
        for message in to.taken:
            say(json.dumps(message))
        assert {message["type"] for message in to.taken} >= {"job.finished", "file.loaded"}
