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


class Reach(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whose resources of which types may be seen.

    Parameters
    ----------
    all_patients
        Every resource of these types in the store, also those that are about nobody in particular; else only
        what is in the compartments of the patients in `groups`.
    groups
        Ids of groups of patients.
    types
        The types; None: all. Never more than this: no type is none.
    """

    all_patients: bool = False
    groups: tuple[str, ...] = ()
    types: tuple[str, ...] | None = None


class ExportAccess(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the token's subject may see: its grants, narrowed by the token's scopes.

    A resource may be seen if it is within `all_patients`, `groups` and `types`, and, where `narrower` is not
    empty, within one of its reaches as well, and, where `limits` has searches for its type, if it satisfies
    one of these. `reaches` and `limits_of` say the same in the form that is worked with.

    Parameters
    ----------
    all_patients
        Everything in the store; else only what is in the compartments of the patients in `groups`.
    groups
        Ids of groups of patients.
    types
        The types; None: all.
    narrower
        Where grants give different types of different patients, what each type's patients are. Every reach
        names its types, no type is in two of them, and a type that is in none may not be seen. Empty: the
        fields above say everything. At the group level it is always empty, for the patients are the group's.
    limits
        Searches that the token's scopes are limited to (`system/Observation.rs?category=laboratory`; SMART
        App Launch 2.2, "Finer-grained resource constraints using search parameters"). Those of one type are
        joined by OR; then with the request's `type_filters` of the type by AND. A type without any is not
        limited. They hold for every resource that is put out, however it came to be in the export. Of a type
        that has some no deletion is told, because what was deleted cannot be searched any more.
    """

    all_patients: bool = False
    groups: tuple[str, ...] = ()
    types: tuple[str, ...] | None = None
    narrower: tuple[Reach, ...] = ()
    limits: tuple[TypeFilter, ...] = ()

    @property
    def reaches(self) -> tuple[Reach, ...]:
        """What may be seen, as reaches of which no two have a type in common."""
        return self.narrower or (Reach(all_patients=self.all_patients, groups=self.groups, types=self.types),)

    def reach_of(self, type_: str) -> Reach | None:
        """Give the one reach that has the type; None: nothing of this type may be seen."""
        found = (reach for reach in self.reaches if reach.types is None or type_ in reach.types)
        return next(found, None)

    def limits_of(self, type_: str) -> tuple[str, ...]:
        """Give the searches of which a resource of the type must satisfy one; none: it is not limited."""
        return tuple(limit.query for limit in self.limits if limit.type == type_)
