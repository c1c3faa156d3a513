"""Files and folders, in the shapes of the Seven Bridges v2 API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sluice_gateway.metadata import Metadata
from sluice_gateway.models.base import AnswerModel, ErrorBody, PageQuery, QueryModel, RequestModel, Time
from sluice_gateway.names import clean_label, clean_name

MOST_IDS = 100
MOST_TAGS = 100
LABEL_BYTES = 255


def clean_tag(tag: str) -> str:
    """Give a tag in composed form; ValueError if it cannot be one."""
    return clean_label(tag, LABEL_BYTES)


FileName = Annotated[
    str,
    AfterValidator(clean_name),
    Field(description="At most 255 bytes in UTF-8, without separators, control or bidi characters."),
]
Tag = Annotated[str, AfterValidator(clean_tag), Field(json_schema_extra={"maxLength": LABEL_BYTES})]
Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS)]
TagList = list[str]


class FileOrigin(AnswerModel):
    """Where a file came from: the import job, the item in it, and the source."""

    task: str | None = Field(description="Always null: files are made by imports, not by tasks.")
    job: str | None
    item: int | None
    source: str | None


class FileStorage(AnswerModel):
    """How the content is kept."""

    type: str = "PLATFORM"


class File(AnswerModel):
    """A file or a folder."""

    href: str
    id: str
    name: str
    type: Literal["file", "folder"]
    size: int | None = Field(description="Bytes; null for a folder.")
    project: str
    parent: str | None = Field(description="Id of the folder it is in.")
    created_on: Time
    modified_on: Time
    origin: FileOrigin
    storage: FileStorage
    tags: list[str]
    metadata: dict[str, Any]


class FilesQuery(PageQuery):
    """Which files are wanted: those of a project's root or of a folder, narrowed by filters."""

    project: str | None = Field(None, description="`owner/project-slug`: what is in its root.")
    parent: str | None = Field(None, description="Id of a folder: what is in it.")
    name: list[str] = Field(default_factory=list, description="Exact name; may be repeated.")
    tag: list[str] = Field(default_factory=list, description="A tag; may be repeated.")
    metadata: dict[str, list[str]] = Field(
        default_factory=dict, description="`metadata.{key}=value`; may be repeated."
    )


class DeleteQuery(QueryModel):
    """How to delete."""

    recursive: bool = Field(False, description="Also delete what is in the folder.")


class FolderRequest(RequestModel):
    """A folder to be made, in another folder or in a project's root."""

    name: FileName
    type: Literal["folder", "FOLDER"] = Field(description="Only folders are made this way.")
    parent: str | None = None
    project: str | None = None


class FileChange(RequestModel):
    """What of a file or folder is to change; what is not given stays."""

    name: FileName | None = None
    tags: Tags | None = None
    metadata: Metadata | None = None


class MoveRequest(RequestModel):
    """Where a file is to go."""

    parent: str
    name: FileName | None = None


class BulkIds(RequestModel):
    """Files by id."""

    file_ids: list[str] = Field(min_length=1, max_length=MOST_IDS)


class BulkError(ErrorBody):
    """Why one of the files cannot be given; the official client reads `code` as a number."""

    code: int


class BulkRecord(AnswerModel):
    """One of the files asked for, or why it cannot be given."""

    resource: File | None
    error: BulkError | None


class BulkRecords(AnswerModel):
    """The files asked for, in the order of the request."""

    items: list[BulkRecord]


class DownloadInfo(AnswerModel):
    """Where the content can be fetched for some minutes, without a token."""

    url: str


class TicketQuery(QueryModel):
    """What proves a download address."""

    ticket: str = Field("", max_length=2000, description="As in the address that download_info gives.")
