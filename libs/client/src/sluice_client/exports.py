"""Bulk export, call by call: kick-off, polling, deletion (Bulk Data Access 2.0.0 and 3.0.0)."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from sluice_client.api import Api
from sluice_client.errors import SluiceError, WaitTimeoutError
from sluice_client.export_requests import ExportRequest, kick_off
from sluice_client.manifests import ExportFile, ExportStatus, Manifest, read_manifest
from sluice_client.transport import retry_after

FHIR = "/fhir"
"""Where the service's FHIR API is, below its address."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0


class ExportCalls(Api):
    """What is about single steps of an export; `export` does all of them."""

    async def start_export(self, request: ExportRequest, *, key: str | None = None) -> str:
        """Start an export; gives the address where it can be asked how it stands.

        Parameters
        ----------
        key
            Makes the call safe to repeat: with the same key and request, the same export is given again, for
            a day. Without one each call starts another (and its own retries are safe all the same).

        Raises
        ------
        ApiError
            It is refused. If the very same export exists already and the service does not allow two (409),
            the error's `location` is that one's.

        Examples
        --------
        >>> request = ExportRequest(level=ExportLevel.GROUP, group="ward-3", types=("Patient", "Condition"))
        >>> location = await sluice.start_export(request)
        """
        asked = kick_off(request)
        headers = {**asked.headers, "Idempotency-Key": key or str(uuid4())}
        answer = await self.send(
            asked.method, FHIR + asked.path, body=asked.body, headers=headers, repeatable=True
        )
        location = answer.headers.get("Content-Location", "")
        if answer.status != 202 or not location:
            raise SluiceError("The service does not say where the export is.", "Tell the operators.")
        return self.own(location)

    async def export_status(self, location: str) -> ExportStatus:
        """Ask how an export stands, at its address or that of a page of its manifest.

        Raises
        ------
        ApiError
            The export failed, or it is not there (404): unknown, expired, deleted or someone else's.
        """
        answer = await self.send("GET", location, headers={"Accept": "application/json"})
        running = answer.status == 202
        manifest = read_manifest(answer.body) if answer.body.strip() or not running else None
        return ExportStatus(
            finished=not running,
            progress=answer.headers.get("X-Progress", ""),
            manifest=manifest,
            retry_after=retry_after(answer.headers) if running else None,
        )

    async def wait_for_export(self, location: str, *, timeout: float | None = None) -> Manifest:
        """Wait until an export has ended; gives its manifest with the files of all pages.

        Polls as often as the service asks for, and less and less often where it does not say.

        Raises
        ------
        WaitTimeoutError
            It had not ended after `timeout` seconds.
        """
        files: dict[str, ExportFile] = {}
        pause, page = Pause(), location
        try:
            async with asyncio.timeout(timeout):
                while True:
                    status = await self.export_status(page)
                    manifest = status.manifest
                    if manifest is not None:
                        files |= {file.url: file for file in manifest.files}
                    if manifest is not None and manifest.next:
                        page = self.own(manifest.next)
                    elif manifest is not None and status.finished:
                        return Manifest(
                            transaction_time=manifest.transaction_time,
                            request=manifest.request,
                            requires_token=manifest.requires_token,
                            files=tuple(files.values()),
                        )
                    else:
                        await pause.take(status.retry_after)
        except TimeoutError:
            raise WaitTimeoutError(
                "The export has not ended in time.", "It goes on; look again later."
            ) from None

    async def delete_export(self, location: str) -> None:
        """Delete an export and its files; cancel it if it still runs."""
        await self.send("DELETE", location)


class Pause:
    """The time between two polls: what the service asks for, or more each time."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE

    async def take(self, asked: float | None) -> None:
        """Wait for the seconds that the service asks for, if it does."""
        await asyncio.sleep(self._next if asked is None else asked)
        self._next = min(_LONGEST_PAUSE, self._next * 1.5)
