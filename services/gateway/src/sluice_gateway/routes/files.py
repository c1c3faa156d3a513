"""Files and folders."""

from __future__ import annotations

from typing import Any

from sluice_gateway.auditing import note
from sluice_gateway.metadata import Metadata
from sluice_gateway.models.base import JsonObject, Page, PageQuery
from sluice_gateway.models.files import (
    BulkIds,
    BulkRecords,
    DeleteQuery,
    File,
    FileChange,
    FilesQuery,
    FolderRequest,
    MoveRequest,
    TagList,
    Tags,
)
from sluice_gateway.paging import TOTAL_HEADER, Window
from sluice_gateway.routing import Answer, Call, Route, as_json

TAG = "Files"
READ, WRITE = "files/read", "files/write"
LIST = "/v2/files"
ITEM = LIST + "/{id}"


async def list_files(call: Call) -> Answer:
    """List what is in a project's root or in a folder, narrowed by name, tag and metadata.

    Several values of one filter mean any of them; different filters must all match.
    """
    page, total = await call.gateway.files.query(call.principal.subject, call.query)
    note(call.request, items=len(page.items))
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def create_folder(call: Call) -> Answer:
    """Create a folder in a project's root or in another folder."""
    folder = await call.gateway.files.create_folder(call.principal.subject, call.body)
    return Answer(folder, 201, {"Location": folder.href})


async def list_folder(call: Call) -> Answer:
    """List what is in a folder."""
    page, total = await call.gateway.files.contents(
        call.principal.subject, call.path["id"], Window.of(call.query)
    )
    note(call.request, items=len(page.items))
    return Answer(page, headers={TOTAL_HEADER: str(total)})


async def get_file(call: Call) -> Answer:
    """Get a file or folder with its metadata and tags."""
    files = call.gateway.files
    return Answer(files.show(await files.get(call.principal.subject, call.path["id"])))


async def change_file(call: Call) -> Answer:
    """Change a file's name, tags or metadata; metadata is merged, and a null removes a key."""
    files = call.gateway.files
    return Answer(files.show(await files.change(call.principal.subject, call.path["id"], call.body)))


async def delete_file(call: Call) -> Answer:
    """Delete a file, or a folder that is empty or deleted with what is in it."""
    await call.gateway.files.delete(call.principal.subject, call.path["id"], recursive=call.query.recursive)
    return Answer(status=204)


async def move_file(call: Call) -> Answer:
    """Move a file or folder to another folder of its project."""
    return Answer(await call.gateway.files.move(call.principal.subject, call.path["id"], call.body))


async def get_metadata(call: Call) -> Answer:
    """Get a file's metadata."""
    entry = await call.gateway.files.get(call.principal.subject, call.path["id"])
    return Answer(as_json(dict(entry.metadata)))


async def _metadata(call: Call, *, replace: bool) -> Answer:
    change = FileChange(metadata=call.body)
    files = call.gateway.files
    entry = await files.change(call.principal.subject, call.path["id"], change, replace=replace)
    return Answer(as_json(dict(entry.metadata)))


async def merge_metadata(call: Call) -> Answer:
    """Change some of a file's metadata; a null removes its key."""
    return await _metadata(call, replace=False)


async def replace_metadata(call: Call) -> Answer:
    """Replace all of a file's metadata."""
    return await _metadata(call, replace=True)


async def get_tags(call: Call) -> Answer:
    """Get a file's tags."""
    entry = await call.gateway.files.get(call.principal.subject, call.path["id"])
    return Answer(as_json(list(entry.tags)))


async def replace_tags(call: Call) -> Answer:
    """Replace all of a file's tags."""
    change = FileChange(tags=list(dict.fromkeys(call.body)))
    entry = await call.gateway.files.change(call.principal.subject, call.path["id"], change)
    return Answer(as_json(list(entry.tags)))


async def get_files_in_bulk(call: Call) -> Answer:
    """Get up to 100 files at once; each is answered by itself, in the order of the request."""
    records = await call.gateway.files.bulk(call.principal.subject, call.body.file_ids)
    found = [record.resource for record in records.items if record.resource is not None]
    note(call.request, ids=tuple(file.id for file in found), items=len(found))
    return Answer(records)


def _item(method: str, path: str, handler: Any, summary: str, answer: Any, **more: Any) -> Route:
    scope = READ if method == "GET" else WRITE
    return Route(method, ITEM + path, handler, summary, TAG, {200: answer}, scope, errors=(404,), **more)


ROUTES = (
    Route(
        "GET", LIST, list_files, "List files", TAG, {200: Page[File]}, READ, query=FilesQuery, errors=(404,)
    ),
    Route(
        "POST",
        LIST,
        create_folder,
        "Create a folder",
        TAG,
        {201: File},
        WRITE,
        body=FolderRequest,
        errors=(404, 409),
    ),
    _item("GET", "", get_file, "Get a file", File),
    _item("PATCH", "", change_file, "Change a file", File, body=FileChange),
    Route(
        "DELETE",
        ITEM,
        delete_file,
        "Delete a file",
        TAG,
        {204: None},
        WRITE,
        query=DeleteQuery,
        errors=(404, 409),
    ),
    _item("GET", "/list", list_folder, "List a folder", Page[File], query=PageQuery),
    _item("POST", "/actions/move", move_file, "Move a file", File, body=MoveRequest),
    _item("GET", "/metadata", get_metadata, "Get metadata", JsonObject),
    _item("PATCH", "/metadata", merge_metadata, "Change metadata", JsonObject, body=Metadata),
    _item("PUT", "/metadata", replace_metadata, "Replace metadata", JsonObject, body=Metadata),
    _item("GET", "/tags", get_tags, "Get tags", TagList),
    _item("PUT", "/tags", replace_tags, "Replace tags", TagList, body=Tags),
    Route(
        "POST",
        "/v2/bulk/files/get",
        get_files_in_bulk,
        "Get files in bulk",
        TAG,
        {200: BulkRecords},
        READ,
        body=BulkIds,
    ),
)
