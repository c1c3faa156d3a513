"""What a kick-off's parameters mean (Bulk Data Access 3.0.0, section "Bulk Data Kick-off Request").

Everything that is wrong is told in one answer. A value that is malformed is refused whatever the handling; a
lenient client goes on without what is only not supported, except where that would give it more patients' data
than it asked for.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sluice_contracts.exports import Associated, ExportLevel, ExportRequest
from sluice_fhir.compartments import COMPARTMENT_TYPES
from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.search_values import with_plus
from sluice_gateway.fhir.kickoff import KickOff
from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.v3.declared import FORMATS, ORGANIZED
from sluice_gateway.fhir.v3.filters import type_filters
from sluice_gateway.fhir.v3.parameters import Reading, collect, shown

# FHIR's instant: to the second at least, with a zone (R4, 2.24.0.1).
_INSTANT = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(\.\d{1,9})?(Z|[+-]\d{2}:[0-5]\d)"
)
_ELEMENT = re.compile(r"(?:([A-Z][A-Za-z]*)\.)?([a-z][A-Za-z0-9]*)")
_PATIENT = re.compile(r"(?:Patient/)?([A-Za-z0-9.-]{1,64})")
_PROVENANCE = "Provenance"
# The least restrictive value first: where values conflict, it is the one that counts.
_ASSOCIATED = (Associated.RELEVANT_PROVENANCE, Associated.LATEST_PROVENANCE)


def read(kickoff: KickOff) -> ExportRequest:
    """Give what a kick-off asks for.

    Raises
    ------
    Refusal
        400: with an issue for everything that is wrong.
    """
    reading = collect(kickoff)
    _check_format(reading)
    types = _types(reading, kickoff.level)
    associated = _associated(reading)
    asked = _exported(types, associated)
    since, until = _instant(reading, "_since"), _instant(reading, "_until")
    if since is not None and until is not None and since >= until:
        reading.wrong(reading.all("_until")[0].place, "_until must be later than _since.")
    request = ExportRequest(
        level=kickoff.level,
        url=kickoff.url,
        group=kickoff.group,
        types=types,
        since=since,
        until=until,
        type_filters=type_filters(reading, asked),
        elements=_elements(reading, asked),
        patients=_patients(reading, kickoff.level),
        include_associated=associated,
        organize_by=_organized(reading, types),
        allow_partial=_allowed(reading),
        ignored=tuple(dict.fromkeys(reading.ignored)),
    )
    if reading.issues:
        raise Refusal(400, reading.issues)
    return request


def _check_format(reading: Reading) -> None:
    given = reading.one("_outputFormat")
    # A plus that was not encoded arrives as a space.
    if given is not None and given.value.replace(" ", "+") not in FORMATS:
        text = f"_outputFormat must be one of {', '.join(FORMATS)}."
        reading.wrong(given.place, text, "not-supported")


def _types(reading: Reading, level: ExportLevel) -> tuple[str, ...] | None:
    if not reading.all("_type"):
        return None
    asked = dict.fromkeys(reading.items("_type"))
    known = sorted({name for name, _ in asked if name in RESOURCE_TYPES})
    for name, place in asked:
        if name not in RESOURCE_TYPES:
            reading.unsupported("_type", place, f"{shown(name)} is no resource type")
    place = reading.all("_type")[0].place
    if asked and not known and reading.lenient:
        reading.wrong(place, "_type names no resource type that there is.")
    if known and level is not ExportLevel.SYSTEM and COMPARTMENT_TYPES.isdisjoint(known):
        text = "none of these types can be about a patient; ask for them at the system level"
        reading.unsupported("_type", place, text)
    return tuple(known)


def _instant(reading: Reading, name: str) -> datetime | None:
    given = reading.one(name)
    if given is None:
        return None
    match = _INSTANT.fullmatch(with_plus(given.value.strip()))
    if match is not None:
        fraction = (match[2] or "")[:7]
        try:
            return datetime.fromisoformat(
                match[1] + fraction.ljust(7, "0") * bool(fraction) + match[3]
            ).astimezone(UTC)
        except (ValueError, OverflowError):
            match = None  # a day or an offset that there is not
    reading.wrong(given.place, f"{name} must be a FHIR instant, as 2026-01-31T12:00:00Z.")
    return None


def _exported(types: tuple[str, ...] | None, associated: Associated | None) -> tuple[str, ...] | None:
    """Give the types that the output may have, None for all: those asked for, and what comes with them."""
    return types if types is None or associated is None else (*types, _PROVENANCE)


def _elements(reading: Reading, types: tuple[str, ...] | None) -> tuple[str, ...]:
    found: list[str] = []
    for text, place in reading.items("_elements"):
        match = _ELEMENT.fullmatch(text)
        if match is None:
            reading.wrong(place, "_elements must be root elements, as element or Type.element.")
        elif match[1] is not None and match[1] not in RESOURCE_TYPES:
            reading.unsupported("_elements", place, f"{shown(match[1])} is no resource type")
        elif match[1] is not None and types is not None and match[1] not in types:
            reading.unsupported("_elements", place, f"{match[1]} is not among the types asked for by _type")
        else:
            found.append(text)
    return tuple(sorted(set(found)))


def _patients(reading: Reading, level: ExportLevel) -> tuple[str, ...] | None:
    given = reading.all("patient")
    if not given:
        return None
    place = given[0].place
    # Going on without it would export people nobody asked for: no handling does.
    if not all(each.posted for each in given):
        reading.wrong(place, "patient can be given in the body of a POST only.", "not-supported")
        return None
    if level is ExportLevel.SYSTEM:
        reading.wrong(place, "patient cannot be used at the system level.", "not-supported")
        return None
    found: set[str] = set()
    for each in given:
        match = _PATIENT.fullmatch(each.value)
        if match is None:
            reading.wrong(each.place, "patient must be a reference as Patient/id.")
        else:
            found.add(match[1])
    return tuple(sorted(found))


def _associated(reading: Reading) -> Associated | None:
    found: set[str] = set()
    for text, place in reading.items("includeAssociatedData"):
        if text in set(_ASSOCIATED):
            found.add(text)
        else:
            reading.unsupported("includeAssociatedData", place, f"{shown(text)} is not supported")
    return next((each for each in _ASSOCIATED if each in found), None)


def _organized(reading: Reading, types: tuple[str, ...] | None) -> str | None:
    given = reading.one("organizeOutputBy")
    if given is None:
        return None
    if given.value != ORGANIZED:
        reason = f"output can be organized by {ORGANIZED} only"
    elif types and COMPARTMENT_TYPES.isdisjoint(types):
        # Nothing of these would be in any block.
        reason = "none of the types asked for by _type can be about a patient"
    else:
        return ORGANIZED
    reading.unsupported("organizeOutputBy", given.place, reason)
    return None


def _allowed(reading: Reading) -> bool:
    given = reading.one("allowPartialManifests")
    if given is not None and given.value not in ("true", "false"):
        reading.wrong(given.place, "allowPartialManifests must be true or false.")
    return given is not None and given.value == "true"
