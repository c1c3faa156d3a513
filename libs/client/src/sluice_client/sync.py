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

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sluice_client.any_jobs import AnyJob, JobItem
from sluice_client.downloads import Progress
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
from sluice_client.oauth import EXPORT_SCOPES, IMPORT_SCOPES
from sluice_client.sync_bulk import BulkCalls
from sluice_client.trials import Forecast


class SluiceClient(BulkCalls):
    """A context manager with the calls of `sluice_client.SluiceClient`; see the module."""

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

    def remove_client(self, client: Credentials | Registration) -> None:
        """Have the service remove a client that was signed up."""
        self.run(lambda it: it.remove_client(client))

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

    def check_import(
        self,
        items: Sequence[ImportItem | str],
        *,
        project: str | None = None,
        parent: str | None = None,
        conflict_resolution: ConflictResolution | None = None,
    ) -> list[Forecast]:
        """Say what importing would do, and do nothing."""
        return self.run(
            lambda it: it.check_import(
                items, project=project, parent=parent, conflict_resolution=conflict_resolution
            )
        )

    def jobs(self) -> list[JobSummary]:
        """List your import jobs, newest first."""
        return self.gathered(lambda it: it.jobs())

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
        return self.gathered(lambda it: it.results(job))

    def cancel(self, job: str) -> JobSummary:
        """Cancel a document import."""
        return self.run(lambda it: it.cancel(job))

    def rerun(self, job: str, *, key: str | None = None) -> JobAccepted:
        """Import a document import's failed items again."""
        return self.run(lambda it: it.rerun(job, key=key))

    # -- jobs of every kind

    def all_jobs(
        self,
        *,
        kind: str | None = None,
        state: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        begins: str | None = None,
    ) -> list[AnyJob]:
        """List jobs of every kind, newest first."""
        return self.gathered(
            lambda it: it.all_jobs(kind=kind, state=state, outcome=outcome, since=since, begins=begins)
        )

    def any_job(self, job: str) -> AnyJob:
        """Give a job of any kind."""
        return self.run(lambda it: it.any_job(job))

    def job_items(self, job: str, *, state: str | None = None) -> list[JobItem]:
        """List a job's items."""
        return self.gathered(lambda it: it.job_items(job, state=state))

    def wait_for_job(
        self, job: str, *, timeout: float | None = None, on_change: Callable[[AnyJob], None] | None = None
    ) -> AnyJob:
        """Wait until a job of any kind has finished."""
        return self.run(lambda it: it.wait_for_job(job, timeout=timeout, on_change=on_change))

    def cancel_job(self, job: str) -> None:
        """Cancel a job of any kind."""
        self.run(lambda it: it.cancel_job(job))

    # -- projects and files

    def projects(self, name: str | None = None) -> list[Project]:
        """List your projects."""
        return self.gathered(lambda it: it.projects(name))

    def create_project(self, name: str, *, description: str = "", tags: Sequence[str] = ()) -> Project:
        """Make a project."""
        return self.run(lambda it: it.create_project(name, description=description, tags=tags))

    def change_project(
        self,
        project: str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Project:
        """Change a project."""
        return self.run(lambda it: it.change_project(project, name=name, description=description, tags=tags))

    def delete_project(self, project: str) -> None:
        """Delete a project with everything in it."""
        self.run(lambda it: it.delete_project(project))

    def files(self, **narrowed: Any) -> list[File]:
        """List files; `narrowed` are the arguments of the asynchronous `files`."""
        return self.gathered(lambda it: it.files(**narrowed))

    def create_folder(self, name: str, *, project: str | None = None, parent: str | None = None) -> File:
        """Make a folder."""
        return self.run(lambda it: it.create_folder(name, project=project, parent=parent))

    def change_file(
        self,
        file: str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> File:
        """Change a file or folder."""
        return self.run(lambda it: it.change_file(file, name=name, tags=tags, metadata=metadata))

    def move_file(self, file: str, parent: str, *, name: str | None = None) -> File:
        """Move a file into another folder."""
        return self.run(lambda it: it.move_file(file, parent, name=name))

    def delete_file(self, file: str, *, recursive: bool = False) -> None:
        """Delete a file or folder."""
        self.run(lambda it: it.delete_file(file, recursive=recursive))

    def metadata(self, file: str) -> dict[str, Any]:
        """Give a file's metadata."""
        return self.run(lambda it: it.metadata(file))

    def download(self, file: str, target: Path, progress: Progress | None = None) -> Downloaded:
        """Download a file."""
        return self.run(lambda it: it.download(file, target, progress))
