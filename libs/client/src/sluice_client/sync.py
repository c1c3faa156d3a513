"""The SDK for programs without asyncio: the same calls, each of which waits for its result.

    from sluice_client.sync import SluiceClient

    with SluiceClient("https://sluice.example", credentials=credentials) as sluice:
        jobs = sluice.import_documents(references, project="ann/heart-study")
        sluice.wait_all([job.id for job in jobs])
        done = sluice.export(Path("night"), ExportRequest(types=("Patient",)))

Every call has the arguments and errors of its namesake in `sluice_client.SluiceClient`; what goes through a
list there gives the list here. Whatever is not named here is reached by `run`. One thread at a time uses a
client, and none that runs an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sluice_client import client as asynchronous
from sluice_client.downloads import Progress
from sluice_client.errors import SluiceError
from sluice_client.export_requests import ExportRequest
from sluice_client.export_run import Exported, ExportProgress
from sluice_client.manifests import ExportStatus, Manifest
from sluice_client.models import (
    ConflictResolution,
    Credentials,
    Downloaded,
    File,
    ImportItem,
    ImportResult,
    Job,
    JobAccepted,
    JobSummary,
    Project,
    Registration,
)
from sluice_client.oauth import EXPORT_SCOPES, IMPORT_SCOPES, AnyCredentials
from sluice_client.transport import Patience

T = TypeVar("T")


class SluiceClient:
    """A context manager with the calls of `sluice_client.SluiceClient`; see the module."""

    def __init__(
        self,
        url: str,
        *,
        auth_url: str | None = None,
        credentials: AnyCredentials | None = None,
        scopes: Sequence[str] | None = None,
        patience: Patience | None = None,
        ca: Path | None = None,
    ) -> None:
        self._client = asynchronous.SluiceClient(
            url, auth_url=auth_url, credentials=credentials, scopes=scopes, patience=patience, ca=ca
        )
        self._runner: asyncio.Runner | None = None

    def __enter__(self) -> Self:
        runner = asyncio.Runner()
        try:
            runner.run(self._client.__aenter__())
        except BaseException:
            runner.close()
            raise
        self._runner = runner
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            try:
                self._runner.run(self._client.__aexit__(kind, error, trace))
            finally:
                self._runner.close()
                self._runner = None

    def run(self, call: Callable[[asynchronous.SluiceClient], Coroutine[Any, Any, T]]) -> T:
        """Do anything with the asynchronous client and wait for it.

        Examples
        --------
        >>> sluice.run(lambda client: client.add_source("Ward 3", "https://fhir.example/r4"))
        """
        if self._runner is None:
            raise SluiceError("The client is not open.", "Use it in `with`.")
        return self._runner.run(call(self._client))

    def _all(self, call: Callable[[asynchronous.SluiceClient], AsyncIterator[T]]) -> list[T]:
        async def gathered(client: asynchronous.SluiceClient) -> list[T]:
            return [each async for each in call(client)]

        return self.run(gathered)

    # -- who we are

    def sign_up(
        self, name: str, *, scopes: Sequence[str] = IMPORT_SCOPES, initial_token: str | None = None
    ) -> Credentials:
        """Sign up, and use the credentials from now on."""
        return self.run(lambda it: it.sign_up(name, scopes=scopes, initial_token=initial_token))

    def register_key(
        self,
        name: str,
        *,
        jwks: Mapping[str, Any] | None = None,
        jwks_uri: str | None = None,
        scopes: Sequence[str] = EXPORT_SCOPES,
        initial_token: str | None = None,
    ) -> Registration:
        """Sign up a client that proves itself with a key."""
        return self.run(
            lambda it: it.register_key(
                name, jwks=jwks, jwks_uri=jwks_uri, scopes=scopes, initial_token=initial_token
            )
        )

    def token(self) -> str:
        """Give a valid access token."""
        return self.run(lambda it: it.token())

    # -- imports

    def import_documents(
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
        """Import documents; gives the jobs."""
        return self.run(
            lambda it: it.import_documents(
                items,
                project=project,
                parent=parent,
                conflict_resolution=conflict_resolution,
                tags=tags,
                key=key,
                accepted=accepted,
            )
        )

    def jobs(self) -> list[JobSummary]:
        """List your import jobs, newest first."""
        return self._all(lambda it: it.jobs())

    def wait_all(
        self,
        jobs: Sequence[str],
        *,
        timeout: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> list[Job]:
        """Wait until jobs have finished."""
        return self.run(lambda it: it.wait_all(jobs, timeout=timeout, on_change=on_change))

    def results(self, job: str) -> list[ImportResult]:
        """List a job's results."""
        return self._all(lambda it: it.results(job))

    def cancel(self, job: str) -> JobSummary:
        """Cancel a job."""
        return self.run(lambda it: it.cancel(job))

    # -- projects and files

    def projects(self, name: str | None = None) -> list[Project]:
        """List your projects."""
        return self._all(lambda it: it.projects(name))

    def create_project(self, name: str, *, description: str = "", tags: Sequence[str] = ()) -> Project:
        """Make a project."""
        return self.run(lambda it: it.create_project(name, description=description, tags=tags))

    def files(self, **narrowed: Any) -> list[File]:
        """List files; `narrowed` are the arguments of the asynchronous `files`."""
        return self._all(lambda it: it.files(**narrowed))

    def metadata(self, file: str) -> dict[str, Any]:
        """Give a file's metadata."""
        return self.run(lambda it: it.metadata(file))

    def download(self, file: str, target: Path, progress: Progress | None = None) -> Downloaded:
        """Download a file."""
        return self.run(lambda it: it.download(file, target, progress))

    # -- exports

    def export(
        self,
        folder: Path,
        request: ExportRequest | None = None,
        *,
        wait: bool = True,
        keep: bool = False,
        restart: bool = False,
        at_once: int = 4,
        gzip: bool | None = None,
        progress: ExportProgress | None = None,
    ) -> Exported:
        """Export to a folder, or go on with what was begun there."""
        return self.run(
            lambda it: it.export(
                folder,
                request,
                wait=wait,
                keep=keep,
                restart=restart,
                at_once=at_once,
                gzip=gzip,
                progress=progress,
            )
        )

    def abandon_export(self, folder: Path) -> None:
        """Delete what was begun in a folder."""
        self.run(lambda it: it.abandon_export(folder))

    def start_export(self, request: ExportRequest, *, key: str | None = None) -> str:
        """Start an export; gives its address."""
        return self.run(lambda it: it.start_export(request, key=key))

    def export_status(self, location: str) -> ExportStatus:
        """Ask how an export stands."""
        return self.run(lambda it: it.export_status(location))

    def wait_for_export(self, location: str, *, timeout: float | None = None) -> Manifest:
        """Wait until an export has ended; gives its manifest."""
        return self.run(lambda it: it.wait_for_export(location, timeout=timeout))

    def delete_export(self, location: str) -> None:
        """Delete an export."""
        self.run(lambda it: it.delete_export(location))
