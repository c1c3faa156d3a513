"""Projects, and the files in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from sluice_client.api import PAGE, Api, step
from sluice_client.downloads import Downloader, Progress
from sluice_client.importing import chunks
from sluice_client.models import Downloaded, File, Member, Page, Project


class _Address(Struct):
    url: str


class _Record(Struct):
    resource: File | None = None


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

    async def change_project(
        self,
        project: str,
        *,
        name: str | None = None,
        description: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Project:
        """Change a project's name, description or all of its tags; what is not given stays, as does its id.

        Examples
        --------
        >>> await sluice.change_project("ann/heart-study", tags=["closed"])
        """
        given = {"name": name, "description": description, "tags": None if tags is None else list(tags)}
        body = {key: value for key, value in given.items() if value is not None}
        path = f"/v2/projects/{quote(project, safe='/')}"
        return await self.call("PATCH", path, Project, body=body, repeatable=True)

    async def delete_project(self, project: str) -> None:
        """Delete a project with all its folders and files, for all its members."""
        await self.send("DELETE", f"/v2/projects/{quote(project, safe='/')}")

    async def add_member(
        self, project: str, username: str, *, write: bool = False, admin: bool = False
    ) -> None:
        """Let someone (`User.username`) see a project, or give a member other permissions.

        Needs the admin permission.

        Parameters
        ----------
        write, admin
            Let them change it too; let them say who its members are.
        """
        body = {"username": username, "permissions": {"read": True, "write": write, "admin": admin}}
        await self.send("POST", f"/v2/projects/{quote(project, safe='/')}/members", body=body)

    def members(self, project: str) -> AsyncIterator[Member]:
        """Go through a project's members, its owner among them."""
        return self.pages(f"/v2/projects/{quote(project, safe='/')}/members", Member, {})

    async def remove_member(self, project: str, username: str) -> None:
        """Let someone see a project no more; needs the admin permission, or is yourself."""
        await self.send("DELETE", f"/v2/projects/{quote(project, safe='/')}/members/{step(username)}")

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

    async def files_by_id(self, files: Sequence[str]) -> dict[str, File]:
        """Give files and folders by their ids, a hundred a call; those that are not there are left out."""
        found: dict[str, File] = {}
        for part in chunks(files, PAGE):
            body = {"file_ids": list(part)}
            records = await self.call("POST", "/v2/bulk/files/get", Page[_Record], body=body, repeatable=True)
            found |= {each.resource.id: each.resource for each in records.items if each.resource}
        return found

    async def metadata(self, file: str) -> dict[str, Any]:
        """Give a file's metadata."""
        return await self.get(f"/v2/files/{step(file)}/metadata", dict[str, Any])

    async def replace_metadata(self, file: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Give a file this metadata and none other; `change_file` merges."""
        return await self.call("PUT", f"/v2/files/{step(file)}/metadata", dict[str, Any], body=metadata)

    async def create_folder(
        self, name: str, *, project: str | None = None, parent: str | None = None
    ) -> File:
        """Make a folder in a project's root, or in the folder `parent`."""
        place = {"project": project} if parent is None else {"parent": parent}
        return await self.call("POST", "/v2/files", File, body={"name": name, "type": "folder", **place})

    async def change_file(
        self,
        file: str,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> File:
        """Change a file or folder: its name, all of its tags, some of its metadata; what is not given stays.

        A metadata value of None removes its key.
        """
        given = {"name": name, "tags": None if tags is None else list(tags), "metadata": metadata}
        body = {key: value for key, value in given.items() if value is not None}
        return await self.call("PATCH", f"/v2/files/{step(file)}", File, body=body, repeatable=True)

    async def move_file(self, file: str, parent: str, *, name: str | None = None) -> File:
        """Move a file into another folder, and give it another name if `name` is given."""
        body = {"parent": parent} if name is None else {"parent": parent, "name": name}
        return await self.call("POST", f"/v2/files/{step(file)}/actions/move", File, body=body)

    async def delete_file(self, file: str, *, recursive: bool = False) -> None:
        """Delete a file, or an empty folder; with `recursive` all that is in it too."""
        query = {"recursive": "true"} if recursive else None
        await self.send("DELETE", f"/v2/files/{step(file)}", query=query)

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
        return await Downloader(self.transport, lambda: self.download_address(file)).save(target, progress)

    async def download_address(self, file: str) -> str:
        """Give an address at which a file's content can be fetched for some minutes, without a token.

        It is for whoever has no token, such as a browser: whoever has it has the content.
        """
        return (await self.get(f"/v2/files/{step(file)}/download_info", _Address)).url
