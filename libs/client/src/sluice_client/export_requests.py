"""What an export is asked for, and how that is said to a server (Bulk Data Access 2.0.0 and 3.0.0)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from sluice_client.errors import SluiceError

# Longer addresses are refused by servers and proxies; what does not fit is posted.
_LONGEST_QUERY = 1_500


class ExportLevel(StrEnum):
    """Whose data: everything, every patient's, or that of a group's patients."""

    SYSTEM = "system"
    PATIENT = "patient"
    GROUP = "group"


class ExportRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be exported ("Bulk Data Kick-off Request").

    Parameters
    ----------
    level, group
        Whose data; `group` is the group's id and goes with the level GROUP alone.
    types
        Resource types; none: all that the token permits.
    since, until
        Only what was changed after the one, and up to the other; both with a time zone.
    type_filters
        Searches such as `Observation?category=laboratory`; those of one type are joined by OR.
    elements
        Root elements to be given, as `element` or `Type.element`; none: all.
    patients
        Ids of the only patients it is about; not at the level SYSTEM.
    include_associated_data
        `LatestProvenanceResources` or `RelevantProvenanceResources`.
    organize_output_by
        `Patient`: files hold one patient's resources after the other's, instead of one type each.
    allow_partial_manifests
        Files may be listed, and are downloaded, while the export still runs.
    output_format
        Another one than the server's own.
    lenient
        Go on without parameters that the server does not know; it lists them among the export's errors.
    """

    level: ExportLevel = ExportLevel.SYSTEM
    group: str | None = None
    types: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    type_filters: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    include_associated_data: tuple[str, ...] = ()
    organize_output_by: str | None = None
    allow_partial_manifests: bool = False
    output_format: str | None = None
    lenient: bool = False

    def check(self) -> None:
        """Refuse what no server could make sense of, before it is asked.

        Raises
        ------
        SluiceError
            Parts of the request contradict each other.
        """
        if (self.level is ExportLevel.GROUP) != bool(self.group):
            raise SluiceError("A group export needs a group's id, and no other export takes one.")
        if self.patients and self.level is ExportLevel.SYSTEM:
            raise SluiceError("Patients cannot be chosen in a system export.", "Export patients or a group.")
        for instant in (self.since, self.until):
            if instant is not None and instant.tzinfo is None:
                raise SluiceError("since and until need a time zone.", "Such as 2026-01-31T00:00:00Z.")

    def normal(self) -> ExportRequest:
        """Give the request with what may be in any order, or twice, in one order and once."""
        several = ("types", "type_filters", "elements", "patients", "include_associated_data")
        return msgspec.structs.replace(
            self, **{name: tuple(sorted(set(getattr(self, name)))) for name in several}
        )


class KickOff(Struct, frozen=True):
    """A kick-off request: its method, its path below the FHIR base with the query, headers and body."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None = None


def kick_off(request: ExportRequest) -> KickOff:
    """Say a request as HTTP: by GET, which every server knows, or by POST where GET cannot say it.

    Raises
    ------
    SluiceError
        Parts of the request contradict each other.
    """
    request.check()
    place = {
        ExportLevel.SYSTEM: "",
        ExportLevel.PATIENT: "/Patient",
        ExportLevel.GROUP: f"/Group/{quote(request.group or '', safe='')}",
    }[request.level]
    path = f"{place}/$export"
    prefer = "respond-async, handling=lenient" if request.lenient else "respond-async"
    headers = {"Accept": "application/fhir+json", "Prefer": prefer}
    query = urlencode(_pairs(request))
    # Only Parameters can tell a comma inside a search from one between two.
    ambiguous = any("," in search for search in request.type_filters)
    if request.patients or ambiguous or len(query) > _LONGEST_QUERY:
        headers["Content-Type"] = "application/fhir+json"
        return KickOff("POST", path, headers, _parameters(request))
    return KickOff("GET", f"{path}?{query}" if query else path, headers)


def _pairs(request: ExportRequest) -> list[tuple[str, str]]:
    pairs = [(name, value) for name, _, value in _plain(request)]
    # Servers differ in which they know, but all know commas here.
    for name, values in (("_type", request.types), ("_elements", request.elements)):
        if values:
            pairs.append((name, ",".join(values)))
    return [*pairs, *(("_typeFilter", search) for search in request.type_filters)]


def _plain(request: ExportRequest) -> list[tuple[str, str, str]]:
    """Give the parameters that are said alike in both ways, with their type in Parameters."""
    found: list[tuple[str, str, str | None]] = [
        ("_outputFormat", "valueString", request.output_format),
        ("_since", "valueInstant", None if request.since is None else instant(request.since)),
        ("_until", "valueInstant", None if request.until is None else instant(request.until)),
        ("organizeOutputBy", "valueString", request.organize_output_by),
        ("allowPartialManifests", "valueBoolean", "true" if request.allow_partial_manifests else None),
        *(("includeAssociatedData", "valueString", value) for value in request.include_associated_data),
    ]
    return [(name, kind, value) for name, kind, value in found if value is not None]


def _parameters(request: ExportRequest) -> dict[str, Any]:
    given: list[dict[str, Any]] = [
        {"name": name, kind: value == "true" if kind == "valueBoolean" else value}
        for name, kind, value in _plain(request)
    ]
    given += strings("_type", request.types)
    given += strings("_elements", request.elements)
    given += strings("_typeFilter", request.type_filters)
    for patient in request.patients:
        reference = patient if "/" in patient else f"Patient/{patient}"
        given.append({"name": "patient", "valueReference": {"reference": reference}})
    return {"resourceType": "Parameters", "parameter": given}


def strings(name: str, values: Sequence[str]) -> list[dict[str, Any]]:
    """Say texts as parameters of one name."""
    return [{"name": name, "valueString": value} for value in values]


def instant(time: datetime) -> str:
    """Say a time as FHIR does: to the second at least, in its zone."""
    return time.isoformat().replace("+00:00", "Z")
