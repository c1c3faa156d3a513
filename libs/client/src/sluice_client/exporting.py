"""Exporting to a folder: start, follow, download, check and delete, taken up wherever it broke off."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from sluice_client.api import step
from sluice_client.errors import ExportFolderError
from sluice_client.export_folder import ExportFolder, nothing_begun, read_state
from sluice_client.export_requests import ExportRequest
from sluice_client.export_run import Exported, ExportProgress, ExportRun, abandon
from sluice_client.exports import FHIR, ExportCalls


class ExportingCalls(ExportCalls):
    """What is about whole exports."""

    async def export(
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
        """Export to a folder, or go on with what was begun there.

        Called again after it was broken off, it takes the same export up where it was. Files are checked by
        what the manifest says (size, SHA-256, count). At the end `manifest.json` lists them.

        Parameters
        ----------
        request
            What to export; None: what was begun in the folder.
        job
            The id of an export that was begun elsewhere, which is downloaded to the folder.
        wait
            Download it when it has ended; else it is only started.
        keep
            Leave the export at the service; else it is deleted there as soon as all of it is here.
        restart
            Delete what was begun in the folder, here and at the service, and begin anew.
        at_once
            How many files are downloaded at the same time.
        gzip
            Whether to transfer them compressed; None: unless the service is on this machine.

        Raises
        ------
        ExportFolderError
            The folder holds another export, or another process uses it.
        DownloadError
            A file is not what the manifest says, or cannot be written.
        ApiError
            The service refused something; NotFoundError if the export is not there any more.

        Examples
        --------
        >>> done = await sluice.export(Path("ward-3"), ExportRequest(types=("Patient",)))
        >>> later = ExportRequest(types=("Patient",), since=done.transaction_time)
        """
        if request is None and job is None and read_state(folder) is None:
            raise nothing_begun(folder)
        with ExportFolder(folder) as kept:
            if restart and kept.state is not None:
                await abandon(self, kept.state)
                kept.forget()
            run = ExportRun(self, kept, progress or ExportProgress())
            await run.start(request, None if job is None else self.own(f"{FHIR}/exports/{step(job)}"))
            if wait:
                await run.fetch(at_once, _compressed(self.url) if gzip is None else gzip)
                if not keep:
                    await run.delete()
            return run.result()

    async def abandon_export(self, folder: Path) -> None:
        """Delete what was begun in a folder: at the service, and its files here.

        Raises
        ------
        ExportFolderError
            There is no export in it.
        """
        with ExportFolder(folder) as kept:
            if kept.state is None:
                raise ExportFolderError(f"There is no export in {folder}.")
            await abandon(self, kept.state)
            kept.forget()


def _compressed(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
