"""What a bulk export is asked for and allowed, as its start carries it and its job keeps it.

The gateway resolves both at the kick-off (Bulk Data Access 2.0.0 and 3.0.0, section "Bulk Data Kick-off
Request"): what it cannot resolve it rejects, or, where the client asked to be lenient, lists under `ignored`.
Whoever reads these decides nothing about rights any more: an export gives what is in the request and in the
access, both.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Instant = Annotated[datetime, Meta(tz=True)]
"""A time with its zone."""


class ExportLevel(StrEnum):
    """Where an export was kicked off: `[fhir]/$export`, `Patient/$export` or `Group/{id}/$export`."""

    SYSTEM = "system"
    PATIENT = "patient"
    GROUP = "group"


class Associated(StrEnum):
    """The parameter `includeAssociatedData`; of several values the gateway takes the least restrictive."""

    LATEST_PROVENANCE = "LatestProvenanceResources"
    RELEVANT_PROVENANCE = "RelevantProvenanceResources"


class FileKind(StrEnum):
    """The list of the manifest that a file is in."""

    OUTPUT = "output"
    DELETED = "deleted"
    ERROR = "error"


class ExpiryReason(StrEnum):
    """Why a job's content is deleted: its time has come, it was cancelled, or its owner deleted it."""

    EXPIRED = "expired"
    CANCELLED = "cancelled"
    DELETED = "deleted"


class TypeFilter(Struct, frozen=True, kw_only=True):
    """One `_typeFilter`: a search on one type (`status=active&category=vital-signs`, without the type)."""

    type: str
    query: str


class IgnoredParameter(Struct, frozen=True, kw_only=True):
    """A parameter that a lenient export goes on without: its name and why, both as texts for the client."""

    name: str
    reason: str


class ExportRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is asked for.

    Parameters
    ----------
    level
        Where it was asked.
    url
        The kick-off's URL as the client wrote it, for the manifest.
    group
        The group's id, at the group level.
    types
        The types asked for; None: all.
    since, until
        Only resources with a meta.lastUpdated after the one and up to the other.
    type_filters
        Searches, of which those of one type are joined by OR.
    elements
        Root elements to be left, as `element` or `Type.element`; none: all.
    patients
        Ids of the only patients it is about; None: all.
    include_associated
        Which Provenance resources come along.
    organize_by
        `Patient`: files hold blocks of a patient each. None: files hold one type each.
    allow_partial
        Files may be listed before all of them are there.
    ignored
        What the client is to be told was left out of account.
    """

    level: ExportLevel
    url: str = ""
    group: str | None = None
    types: tuple[str, ...] | None = None
    since: Instant | None = None
    until: Instant | None = None
    type_filters: tuple[TypeFilter, ...] = ()
    elements: tuple[str, ...] = ()
    patients: tuple[str, ...] | None = None
    include_associated: Associated | None = None
    organize_by: str | None = None
    allow_partial: bool = False
    ignored: tuple[IgnoredParameter, ...] = ()


class ExportAccess(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the token's subject may see: its grants, narrowed by the token's scopes.

    Parameters
    ----------
    all_patients
        Everything in the store; else only what is in the compartments of the patients in `groups`.
    groups
        Ids of groups of patients.
    types
        The types; None: all.
    """

    all_patients: bool = False
    groups: tuple[str, ...] = ()
    types: tuple[str, ...] | None = None
