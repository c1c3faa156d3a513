"""One call of `export`: what it does, what it tells on the way, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import aiohttp
from msgspec import Struct

from sluice_client.errors import ApiError, ExportFolderError, NotFoundError, SluiceError
from sluice_client.export_files import FileFetcher
from sluice_client.export_folder import ExportFolder, ExportState, KeptFile, nothing_begun
from sluice_client.export_requests import ExportRequest
from sluice_client.exports import ExportCalls, Pause
from sluice_client.manifests import ExportFile, Manifest

_GONE = "The export is not there any more: it has expired, or was deleted."
# Shorter than the day for which the service remembers keys.
_KEY_IS_GOOD_FOR = timedelta(hours=20)
_ANEW = "Begin anew (--restart), or choose another folder."


class Exported(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an export came to.

    Parameters
    ----------
    folder
        Where it is.
    location
        Where the service says how it stands, as long as it is not deleted.
    complete
        Whether all files are here.
    transaction_time
        Everything up to then is in it: the next export's `since`.
    files
        By their path below the folder.
    deleted
        Whether it was deleted at the service.
    """

    folder: str
    location: str | None = None
    complete: bool = False
    transaction_time: datetime | None = None
    files: dict[str, ExportFile] = {}
    deleted: bool = False


class ExportProgress:
    """Is told how an export goes on; override what you want to know."""

    def started(self, location: str) -> None:
        """Hear where the service says how the export stands, at each call."""

    def running(self, said: str, percent: float | None) -> None:
        """Hear what the service says of its progress."""

    def listed(self, file: ExportFile, name: str, have: int) -> None:
        """Hear of a file in the manifest, and how much of it was here before."""

    def received(self, file: ExportFile, have: int) -> None:
        """Hear how many bytes of a file are here."""

    def finished(self, file: ExportFile) -> None:
        """Hear that a file is here and right."""


class ExportRun:
    """One call of `export`."""

    def __init__(self, calls: ExportCalls, kept: ExportFolder, progress: ExportProgress) -> None:
        self._calls = calls
        self._kept = kept
        self._progress = progress

    @property
    def _state(self) -> ExportState:
        if self._kept.state is None:
            raise nothing_begun(self._kept.path)
        return self._kept.state

    async def start(self, request: ExportRequest | None, location: str | None = None) -> None:
        """Start the export, unless it was; `location` is that of one that was begun elsewhere."""
        state = self._kept.state
        if location is not None:
            state = self._adopted(state, location)
        elif state is None:
            if request is None:
                raise nothing_begun(self._kept.path)
            request.check()
            # Whoever is not let in has not begun anything.
            await self._calls.tokens.get()
            state = self._kept.begin(self._calls.url, request.normal())
        else:
            self._same(state, request)
        if state.location is None:
            await self._kick_off(state)
        self._progress.started(state.location or "")

    def _adopted(self, state: ExportState | None, location: str) -> ExportState:
        if state is None:
            # What it was asked for is the service's to know; here nothing depends on it any more.
            state = self._kept.begin(self._calls.url, ExportRequest())
            state.location = location
            self._kept.save()
        elif state.location != location:
            raise ExportFolderError(f"{self._kept.path} holds another export.", "Choose another folder.")
        return state

    def _same(self, state: ExportState, request: ExportRequest | None) -> None:
        where = self._kept.path
        if state.service != self._calls.url:
            raise ExportFolderError(f"{where} holds an export of another service.", "Choose another folder.")
        if request is not None and request.normal() != state.request:
            raise ExportFolderError(f"{where} holds an export of another request.", _ANEW)

    async def _kick_off(self, state: ExportState) -> None:
        if datetime.now(UTC) - state.started > _KEY_IS_GOOD_FOR:
            text = "The last start broke off before the service answered: the export may run there or not."
            raise ExportFolderError(text, _ANEW)
        # A start that broke off before is repeated under its key: the service gives the export that it made.
        asking = asyncio.create_task(self._calls.start_export(state.request, key=state.key))
        try:
            state.location = await asyncio.shield(asking)
        except asyncio.CancelledError:
            # Whoever interrupts waits for this one answer: without it nobody could find the export again.
            state.location = await asking
            self._kept.save()
            raise
        except SluiceError as error:
            if _surely_refused(error):
                self._kept.forget()  # there is nothing to go on with
            raise
        self._kept.save()

    async def fetch(self, at_once: int, gzip: bool) -> None:
        """Download what the manifest lists, as it comes."""
        state = self._state
        if state.complete:
            return
        fetcher = FileFetcher(self._calls.transport, self._authorize, gzip=gzip)
        slots = asyncio.Semaphore(at_once)
        try:
            async with asyncio.TaskGroup() as downloads:

                def download(kept: KeptFile) -> None:
                    self._tell(kept)
                    if not kept.done:
                        downloads.create_task(self._download(fetcher, slots, kept))

                for kept in state.files:
                    download(kept)
                if not state.listed:
                    await self._list(download)
        except ExceptionGroup as several:
            # The others were cancelled because of it, or failed alike.
            raise _first(several) from None
        self._kept.write_manifest()

    def _tell(self, kept: KeptFile) -> None:
        self._progress.listed(kept.file, kept.name, (kept.file.size or 0) if kept.done else 0)
        if kept.done:
            self._progress.finished(kept.file)

    async def _list(self, download: Callable[[KeptFile], None]) -> None:
        state, pause = self._state, Pause()
        while not state.listed:
            try:
                status = await self._calls.export_status(state.page or state.location or "")
            except NotFoundError as error:
                raise NotFoundError(error.status, error.code, _GONE, _ANEW) from None
            self._progress.running(status.progress, status.percent)
            manifest = status.manifest
            if manifest is not None:
                new = self._note(manifest)
                state.page = self._calls.own(manifest.next) if manifest.next else state.page
                state.listed = status.finished and manifest.next is None
                self._kept.save()
                for kept in new:
                    download(kept)
            # The next page has times of its own.
            if not status.finished and (manifest is None or manifest.next is None):
                await pause.take(status.retry_after)

    def _note(self, manifest: Manifest) -> list[KeptFile]:
        state = self._state
        state.transaction_time = manifest.transaction_time
        state.without_token = not manifest.requires_token
        return self._kept.add(manifest.files)

    async def _download(self, fetcher: FileFetcher, slots: asyncio.Semaphore, kept: KeptFile) -> None:
        file = kept.file
        async with slots:
            try:
                await fetcher.fetch(
                    file, self._kept.target(kept), lambda have: self._progress.received(file, have)
                )
            except NotFoundError as error:
                raise NotFoundError(error.status, error.code, _GONE, _ANEW) from None
        kept.done = True
        self._kept.save()
        self._progress.finished(file)

    async def _authorize(self, url: str, refused: str | None) -> dict[str, str]:
        if self._state.without_token:
            return {}
        self._calls.own(url)
        if refused is not None:
            self._calls.tokens.drop(refused.removeprefix("Bearer "))
        return {"Authorization": f"Bearer {await self._calls.tokens.get()}"}

    async def delete(self) -> None:
        """Delete the export at the service."""
        state = self._state
        if not state.deleted:
            await abandon(self._calls, state)
            state.deleted = True
            self._kept.save()

    def result(self) -> Exported:
        """Give what has come of it."""
        state = self._state
        return Exported(
            folder=str(self._kept.path),
            location=None if state.deleted else state.location,
            complete=state.complete,
            transaction_time=state.transaction_time,
            files={kept.name: kept.file for kept in state.files},
            deleted=state.deleted,
        )


def _first(group: ExceptionGroup[Exception]) -> Exception:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


async def abandon(calls: ExportCalls, state: ExportState) -> None:
    """Delete an export at the service; one that is not there any more is what was wanted."""
    if state.location is not None and not state.deleted:
        with suppress(NotFoundError):
            await calls.delete_export(state.location)


def _surely_refused(error: SluiceError) -> bool:
    """Tell whether the service did nothing; a connection that broke, or a proxy's error, does not say so."""
    if isinstance(error, ApiError):
        return error.status < 500 or error.status == 503
    return isinstance(error.__cause__, aiohttp.ClientConnectorError)
