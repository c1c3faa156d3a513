"""Projects, and the files in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from sluice_client.api import Api, step
from sluice_client.downloads import Downloader, Progress
from sluice_client.models import Downloaded, File, Project


class _Address(Struct):
    url: str


class FileCalls(Api):
    """What is about projects and files."""

    def projects(self, name: str | None = None) -> AsyncIterator[Project]:
        """Go through your projects, those with `name` in their name."""
        return self.pages("/v2/projects", Project, {"name": name})

    async def project(self, project: str) -> Project:
        """Give one project by its id, `owner/slug`."""
        return await self.get(f"/v2/projects/{quote(project, safe='/')}", Project)

    async def create_project(self, name: str, *, description: str = "", tags: Sequence[str] = ()) -> Project:
        """Make a project that you own."""
        body = {"name": name, "description": description, "tags": list(tags)}
        return await self.call("POST", "/v2/projects", Project, body=body)

    async def add_member(self, project: str, username: str, *, write: bool = False) -> None:
        """Let someone (a token's subject) see a project, or also change it; needs the admin permission."""
        body = {"username": username, "permissions": {"read": True, "write": write}}
        await self.send("POST", f"/v2/projects/{quote(project, safe='/')}/members", body=body)

    def files(
        self,
        *,
        project: str | None = None,
        parent: str | None = None,
        name: str | None = None,
        tag: Sequence[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> AsyncIterator[File]:
        """Go through what is in a project's root or in a folder, narrowed by name, tags and metadata."""
        query: dict[str, Any] = {"project": project, "parent": parent, "name": name, "tag": list(tag)}
        query |= {f"metadata.{key}": value for key, value in (metadata or {}).items()}
        return self.pages("/v2/files", File, query)

    async def file(self, file: str) -> File:
        """Give a file or folder with its metadata and tags."""
        return await self.get(f"/v2/files/{step(file)}", File)

    async def metadata(self, file: str) -> dict[str, Any]:
        """Give a file's metadata."""
        return await self.get(f"/v2/files/{step(file)}/metadata", dict[str, Any])

    async def download(self, file: str, target: Path, progress: Progress | None = None) -> Downloaded:
        """Download a file's content to `target`.

        A broken connection, or a broken earlier call, is resumed; the content is checked by its SHA-256 and
        put in place only when it is all there.

        Raises
        ------
        DownloadError
            The content is not the announced one, or cannot be written.

        Examples
        --------
        >>> done = await sluice.download(file.id, Path("report.pdf"))
        """

        async def address() -> str:
            return (await self.get(f"/v2/files/{step(file)}/download_info", _Address)).url

        return await Downloader(self.transport, address).save(target, progress)
