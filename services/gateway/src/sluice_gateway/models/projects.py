"""Projects and members, in the shapes of the Seven Bridges v2 API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from sluice_gateway.models.base import AnswerModel, PageQuery, RequestModel, Time
from sluice_gateway.models.files import Tags, clean_tag

ProjectName = Annotated[str, AfterValidator(clean_tag), Field(description="At most 255 bytes in UTF-8.")]


class Project(AnswerModel):
    """A project. It has no billing group, not even null: the official client takes only a UUID there."""

    href: str
    id: str
    name: str
    description: str
    tags: list[str]
    type: str = "v2"
    root_folder: str
    settings: dict[str, Any] = Field(default_factory=dict)
    permissions: dict[str, bool]
    created_by: str
    created_on: Time
    modified_on: Time


class ProjectsQuery(PageQuery):
    """Which projects are wanted."""

    name: str | None = Field(None, description="Part of the name, in any case.")


class ProjectRequest(RequestModel):
    """A project to be made. Billing and settings are accepted and have no effect."""

    name: ProjectName
    description: str = Field("", max_length=10_000)
    tags: Tags = Field(default_factory=list)
    billing_group: str | None = None
    settings: dict[str, Any] | None = None
    type: str | None = None
    category: str | None = None


class ProjectChange(RequestModel):
    """What of a project is to change. Billing and settings are accepted and have no effect."""

    name: ProjectName | None = None
    description: str | None = Field(None, max_length=10_000)
    tags: Tags | None = None
    billing_group: str | None = None
    settings: dict[str, Any] | None = None
    type: str | None = None
    category: str | None = None


class Permissions(RequestModel):
    """What a member may do; every member may read."""

    read: bool = True
    write: bool = False
    copy_: bool = Field(False, alias="copy")
    execute: bool = False
    admin: bool = False


class PermissionsChange(RequestModel):
    """Permissions to change; what is not given stays."""

    read: bool | None = None
    write: bool | None = None
    copy_: bool | None = Field(None, alias="copy")
    execute: bool | None = None
    admin: bool | None = None


class Member(AnswerModel):
    """A member of a project."""

    href: str
    id: str
    username: str
    email: str | None = Field(None, description="Always null: none is kept.")
    type: str = "USER"
    permissions: dict[str, bool]


class MemberRequest(RequestModel):
    """A member to be added, or one's new permissions."""

    username: str = Field(min_length=1, max_length=255)
    type: Literal["USER"] | None = None
    permissions: Permissions = Field(default_factory=Permissions)
