"""The addresses that answers hold, made from the gateway's public URL."""

from __future__ import annotations

from urllib.parse import quote


class Hrefs:
    """Makes addresses below `base`, the gateway's outside URL."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def __call__(self, path: str) -> str:
        """Give the address of a path that needs no escaping."""
        return self.base + path

    def job(self, job: str) -> str:
        """Give a document import job's address."""
        return f"{self.base}/v2/bulk/fhir/{job}"

    def any_job(self, job: str) -> str:
        """Give a job's address among the jobs of every kind."""
        return f"{self.base}/v2/jobs/{job}"

    def bulk_import(self, job: str) -> str:
        """Give the address at which a bulk import is polled."""
        return f"{self.base}/fhir/bulkstatus/{job}"

    def file(self, file: str) -> str:
        """Give a file's or folder's address."""
        return f"{self.base}/v2/files/{file}"

    def project(self, project: str) -> str:
        """Give a project's address; `project` is `owner/slug`."""
        return f"{self.base}/v2/projects/{quote(project, safe='/')}"

    def member(self, project: str, username: str) -> str:
        """Give a member's address."""
        return f"{self.project(project)}/members/{quote(username, safe='')}"

    def source(self, source: str) -> str:
        """Give a source's address."""
        return f"{self.base}/v2/fhir/sources/{source}"

    def grant(self, grant: str) -> str:
        """Give a grant's address."""
        return f"{self.base}/v2/fhir/grants/{grant}"

    def webhook(self, webhook: str) -> str:
        """Give a webhook's address."""
        return f"{self.base}/v2/webhooks/{webhook}"

    def group(self, group: str) -> str:
        """Give a group's address among the operators' operations."""
        return f"{self.base}/v2/fhir/groups/{group}"

    def export(self, job: str, page: int = 0) -> str:
        """Give the address at which an export is polled, or a page of its manifest is."""
        address = f"{self.base}/fhir/exports/{job}"
        return f"{address}?page={page}" if page else address

    def export_file(self, job: str, name: str) -> str:
        """Give the address of one of an export's files."""
        return f"{self.base}/fhir/exports/{job}/files/{name}"
