"""Bulk submissions: data of several manifests that are one (`$bulk-submit`, Bulk Data 4.0.0, ballot)."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from sluice_client.api import decoded
from sluice_client.errors import SluiceError, WaitTimeoutError
from sluice_client.exports import FHIR, Pause
from sluice_client.pull_requests import PullOutcome
from sluice_client.pulls import PullCalls, outcomes_in
from sluice_client.submission_access import SubmissionAccess
from sluice_client.transport import Answer, retry_after

_JSON = "application/fhir+json"
_KEYS = "/v2/fhir/submissions/jwks.json"


class SubmissionState(StrEnum):
    """What its submitter says of a submission."""

    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    STOPPED = "stopped"


class Submission(Struct, frozen=True, kw_only=True):
    """Which submission: who submits (an Identifier's value and system), and what they call it."""

    submitter: str
    name: str
    system: str = ""

    def parameters(self) -> list[dict[str, Any]]:
        """Say it as parameters."""
        identifier = {"value": self.submitter} | ({"system": self.system} if self.system else {})
        return [
            {"name": "submitter", "valueIdentifier": identifier},
            {"name": "submissionId", "valueString": self.name},
        ]


class _KeySet(Struct):
    keys: list[dict[str, Any]]


class _Listed(Struct):
    url: str


class _Manifest(Struct):
    outcome: list[_Listed] = field(default_factory=list)


class SubmissionStatus(Struct, frozen=True, kw_only=True):
    """How a submission stands.

    Parameters
    ----------
    finished
        Whether it is completed or stopped, and that is carried out.
    files
        Addresses of what became of those of its manifests that have ended.
    progress
        What the service says (`X-Progress`).
    retry_after
        Seconds that the service asks to leave it alone.
    """

    finished: bool
    files: tuple[str, ...] = ()
    progress: str = ""
    retry_after: float | None = None


class SubmissionCalls(PullCalls):
    """What is about submissions; needs the scope `system/bulk-submit`, which `bulk/import` includes."""

    async def bulk_submit(
        self,
        submission: Submission,
        *,
        manifest: str | None = None,
        base: str | None = None,
        replaces: str | None = None,
        state: SubmissionState | None = None,
        access: SubmissionAccess | None = None,
    ) -> list[PullOutcome]:
        """Submit a manifest, or say that a submission is completed or stopped; it may be repeated.

        Gives what the service says of it.

        Parameters
        ----------
        manifest, base
            A manifest's address, on a registered source, and the FHIR base URL its data are of.
        replaces
            The address of an earlier manifest, which this one takes the place of.
        state
            What the submission is from now on.
        access
            What the service needs to read the manifest and its files, beside what operators registered.

        Raises
        ------
        ApiError
            It is refused; nothing was done then.
        SluiceError
            There is `access` without a manifest, or the service publishes no key to deliver one for.

        Examples
        --------
        >>> night = Submission(submitter="ward-3", name="2026-01")
        >>> await sluice.bulk_submit(night, manifest=url, base="https://fhir.example/r4")
        >>> await sluice.bulk_submit(night, state=SubmissionState.COMPLETED)
        >>> sealed = SubmissionAccess(key=ContentKey.read(Path("content.key")))
        >>> await sluice.bulk_submit(night, manifest=url, base="https://fhir.example/r4", access=sealed)
        """
        if access is not None and manifest is None:
            raise SluiceError("There is no manifest to be read.", "Give header fields and keys with one.")
        given = submission.parameters()
        texts = (("manifestUrl", manifest), ("fhirBaseUrl", base), ("replacesManifestUrl", replaces))
        given += [{"name": name, "valueUrl": text} for name, text in texts if text is not None]
        if state is not None:
            given.append({"name": "submissionStatus", "valueCoding": {"code": state.value}})
        if access is not None:
            keys = [] if access.key is None else (await self.get(_KEYS, _KeySet)).keys
            given += access.parameters(keys)
        return outcomes_in((await self._post("$bulk-submit", given)).body)

    async def ask_submission(self, submission: Submission) -> str:
        """Ask how a submission stands; gives the address at which that is polled."""
        answer = await self._post("$bulk-submit-status", submission.parameters())
        place = answer.headers.get("Content-Location", "")
        if answer.status != 202 or not place:
            raise SluiceError("The service does not say where the status is.", "Tell the operators.")
        return self.own(place if "://" in place else "/" + place.lstrip("/"))

    async def submission_status(self, location: str) -> SubmissionStatus:
        """Poll how a submission stands, at the address that `ask_submission` gave."""
        answer = await self.send("GET", location, headers={"Accept": "application/json"})
        listed = decoded(answer.body, _Manifest).outcome
        running = answer.status == 202
        return SubmissionStatus(
            finished=not running,
            files=tuple(each.url for each in listed),
            progress=answer.headers.get("X-Progress", ""),
            retry_after=retry_after(answer.headers) if running else None,
        )

    async def wait_for_submission(
        self, submission: Submission, *, timeout: float | None = None
    ) -> SubmissionStatus:
        """Wait until a submission is completed or stopped, and that is carried out.

        Raises
        ------
        WaitTimeoutError
            It was not after `timeout` seconds.
        """
        pause = Pause()
        try:
            async with asyncio.timeout(timeout):
                location = await self.ask_submission(submission)
                while True:
                    status = await self.submission_status(location)
                    if status.finished:
                        return status
                    await pause.take(status.retry_after)
        except TimeoutError:
            raise WaitTimeoutError(
                "The submission has not ended in time.", "It goes on; look again later."
            ) from None

    async def submission_outcomes(self, status: SubmissionStatus) -> list[PullOutcome]:
        """Give what became of a submission's manifests and their files, as far as they have ended."""
        return [each for url in status.files for each in await self._all(url)]

    async def _post(self, operation: str, parameters: list[dict[str, Any]]) -> Answer:
        body = {"resourceType": "Parameters", "parameter": parameters}
        headers = {"Accept": _JSON, "Content-Type": _JSON, "Prefer": "respond-async"}
        # The same request again changes nothing.
        return await self.send("POST", f"{FHIR}/{operation}", body=body, headers=headers, repeatable=True)
