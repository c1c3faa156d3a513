"""Grants and groups of patients, as operators manage them."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_gateway.models.base import AnswerModel, AwareInstant, PageQuery, QueryModel, RequestModel, Time
from sluice_gateway.names import clean_label

MOST_MEMBERS = 10_000
"""Patients in one request."""
_MOST_MEMBERS_PER_PAGE = 1000
_NAME_BYTES = 255
_CLIENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}")
# Users' ids begin like this, and no client's does.
_USER_PREFIX = "user-"


def _resource_type(name: str) -> str:
    if name not in RESOURCE_TYPES:
        raise ValueError("must be a resource type of FHIR R4")
    return name


def _client_id(text: str) -> str:
    if not _CLIENT.fullmatch(text) or text.startswith(_USER_PREFIX):
        raise ValueError("must be the id of a client")
    return text


def _user_id(text: str) -> str:
    if not _CLIENT.fullmatch(text) or not text.startswith(_USER_PREFIX):
        raise ValueError(f"must be the id of a user, which begins with {_USER_PREFIX}")
    return text


def _group_name(text: str) -> str:
    return clean_label(text, _NAME_BYTES)


FhirId = Annotated[str, Field(pattern=r"^[A-Za-z0-9\-.]{1,64}$")]
"""An id as FHIR R4 has it."""
Patients = Annotated[list[FhirId], Field(max_length=MOST_MEMBERS)]
GroupName = Annotated[str, AfterValidator(_group_name), Field(description="At most 255 bytes in UTF-8.")]


class GrantRequest(RequestModel):
    """A grant to be given: to a client or a user, of a group or of all patients."""

    client: Annotated[str, AfterValidator(_client_id)] | None = Field(
        None, description="The client's id: for tokens with which it acts for itself."
    )
    user: Annotated[str, AfterValidator(_user_id)] | None = Field(
        None, description="The user's id, as tokens have it in `sub`: through whatever client."
    )
    group: FhirId | None = Field(None, description="The group's id: what is about its patients.")
    all_patients: bool = Field(
        default=False, description="Everything in the store, also what is about nobody in particular."
    )
    types: Annotated[list[Annotated[str, AfterValidator(_resource_type)]], Field(min_length=1)] | None = (
        Field(None, description="Only these resource types; without, all.")
    )
    expires_on: AwareInstant | None = Field(None, description="The grant counts before this time only.")

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.client is None) == (self.user is None):
            raise ValueError("either client or user is required, and not both")
        if (self.group is None) != self.all_patients:
            raise ValueError("either group or all_patients (true) is required, and not both")
        return self


class GrantsQuery(PageQuery):
    """Which grants are wanted."""

    grantee: str | None = Field(None, description="Only those of this client or user.")
    group: str | None = Field(None, description="Only those of this group.")
    ended: bool = Field(default=False, description="Those that are revoked or expired as well.")


class Grant(AnswerModel):
    """A grant: who may see whose data."""

    href: str
    id: str
    client: str | None
    user: str | None
    group: str | None
    all_patients: bool
    types: list[str] | None = Field(description="Null: all.")
    state: Literal["active", "expired", "revoked"]
    granted_by: str
    granted_on: Time
    expires_on: Time | None
    revoked_by: str | None
    revoked_on: Time | None


class GroupRequest(RequestModel):
    """A group to be made."""

    id: FhirId | None = Field(None, description="Its id below `/fhir/Group`; without, one is chosen.")
    name: GroupName
    patients: Patients = Field(
        default_factory=list, description="Ids of its patients, who may come into the store later."
    )


class GroupReplacement(RequestModel):
    """What a group is to be from now on."""

    name: GroupName
    patients: Patients


class GroupsQuery(PageQuery):
    """Which groups are wanted."""

    name: str | None = Field(None, description="Part of the name, in any case.")


class Group(AnswerModel):
    """A group of patients."""

    href: str
    id: str
    name: str
    managed: Literal["api", "resource"] = Field(
        description="`api`: by these operations. `resource`: by a Group resource that was loaded."
    )
    members: int
    modified_on: Time


class MembersQuery(QueryModel):
    """Which part of a group's members is wanted."""

    limit: int = Field(100, ge=0, le=_MOST_MEMBERS_PER_PAGE, description="The most entries on the page.")
    offset: int = Field(0, ge=0, le=2**31 - 1, description="How many entries come before the page.")


class GroupMember(AnswerModel):
    """A patient in a group."""

    patient: str
    since: Time


class MembersChange(RequestModel):
    """Patients who are to join a group and patients who are to leave it; all of it is done, or nothing."""

    add: Patients = Field(default_factory=list)
    remove: Patients = Field(default_factory=list)

    @model_validator(mode="after")
    def _clear(self) -> Self:
        if not self.add and not self.remove:
            raise ValueError("add or remove must name a patient")
        if not set(self.add).isdisjoint(self.remove):
            raise ValueError("no patient can be both in add and in remove")
        return self


class MembersChanged(AnswerModel):
    """What a change of members did. Who was in the group already, or was not, is not counted."""

    added: int
    removed: int
    members: int = Field(description="How many are in the group now.")
    not_in_store: int = Field(
        description="Of those in `add`, how many are not in the store: they count from when they are."
    )
