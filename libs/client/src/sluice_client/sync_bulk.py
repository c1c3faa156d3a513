"""Bulk exports, bulk imports and data for measures, for programs without asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from sluice_client.export_requests import ExportRequest
from sluice_client.export_run import Exported, ExportProgress
from sluice_client.manifests import ExportStatus, Manifest
from sluice_client.measures import StoredArtifact
from sluice_client.pull_requests import Pulled, PullOutcome, PullRequest, PullStatus
from sluice_client.submission_access import SubmissionAccess
from sluice_client.submissions import Submission, SubmissionState, SubmissionStatus
from sluice_client.sync_runner import Runner


class BulkCalls(Runner):
    """See `sluice_client.sync.SluiceClient`."""

    # -- exports

    def export(
        self,
        folder: Path,
        request: ExportRequest | None = None,
        *,
        job: str | None = None,
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
                job=job,
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

    # -- bulk imports

    def pull(
        self,
        request: PullRequest,
        *,
        key: str | None = None,
        timeout: float | None = None,
        on_status: Callable[[PullStatus], None] | None = None,
        problems: int = 100,
    ) -> Pulled:
        """Import what a source exports, and wait for its end."""
        return self.run(
            lambda it: it.pull(request, key=key, timeout=timeout, on_status=on_status, problems=problems)
        )

    def start_pull(self, request: PullRequest, *, key: str | None = None) -> str:
        """Have the service import what a source exports; gives the import's id."""
        return self.run(lambda it: it.start_pull(request, key=key))

    def pull_status(self, job: str) -> PullStatus:
        """Ask how an import stands."""
        return self.run(lambda it: it.pull_status(job))

    def wait_for_pull(
        self,
        job: str,
        *,
        timeout: float | None = None,
        on_status: Callable[[PullStatus], None] | None = None,
        problems: int = 100,
    ) -> Pulled:
        """Wait until an import has ended; gives what it came to."""
        return self.run(
            lambda it: it.wait_for_pull(job, timeout=timeout, on_status=on_status, problems=problems)
        )

    def pull_outcomes(self, job: str, *, errors: bool = False) -> list[PullOutcome]:
        """List what became of an import's files, or all that went wrong."""
        return self.gathered(lambda it: it.pull_outcomes(job, errors=errors))

    def cancel_pull(self, job: str) -> None:
        """Cancel an import, or forget one that has ended."""
        self.run(lambda it: it.cancel_pull(job))

    def save_pull_bundles(self, job: str, target: Path) -> int:
        """Write what an import brought to a file, as Bundles."""
        return self.run(lambda it: it.save_pull_bundles(job, target))

    # -- submissions

    def bulk_submit(
        self,
        submission: Submission,
        *,
        manifest: str | None = None,
        base: str | None = None,
        replaces: str | None = None,
        state: SubmissionState | None = None,
        access: SubmissionAccess | None = None,
    ) -> list[PullOutcome]:
        """Submit a manifest, or end a submission; gives what the service says of it."""
        return self.run(
            lambda it: it.bulk_submit(
                submission, manifest=manifest, base=base, replaces=replaces, state=state, access=access
            )
        )

    def wait_for_submission(
        self, submission: Submission, *, timeout: float | None = None
    ) -> SubmissionStatus:
        """Wait until a submission is completed or stopped."""
        return self.run(lambda it: it.wait_for_submission(submission, timeout=timeout))

    # -- data for measures

    def submit_data(
        self, measure: str | None, report: Path | bytes, resources: Sequence[Path | bytes] = ()
    ) -> list[StoredArtifact]:
        """Store a MeasureReport and the data it is about."""
        return self.run(lambda it: it.submit_data(measure, report, resources))

    def start_submit_data(
        self,
        measure: str | None,
        report: Path | bytes,
        export_url: str,
        *,
        since: datetime | None = None,
        static: bool = False,
        strict: bool = False,
        key: str | None = None,
    ) -> str:
        """Have the data that a measure needs pulled from a source; gives the import's id."""
        return self.run(
            lambda it: it.start_submit_data(
                measure, report, export_url, since=since, static=static, strict=strict, key=key
            )
        )
