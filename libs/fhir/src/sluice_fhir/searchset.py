"""Several resources in one answer: a search by their ids, `Type?_id=a,b,c` (R4 sections 3.1.1.4, 3.1.1.5.1).

A searchset holds each resource as a read gives it, as long as the server was not asked for less of it and
does not say that it gives less. What it does not hold may still be there, so a resource that is missing from
it has to be read by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec
from msgspec import Raw, Struct

from sluice_contracts.wire import UNREADABLE

_NOTHING = Raw(b"null")
# The code of the tag of a resource that is given in part (R4 section 3.1.1.5.9).
_SUBSETTED = b"SUBSETTED"


class _Search(Struct):
    mode: str = "match"


class _Entry(Struct):
    resource: Raw = _NOTHING
    search: _Search = msgspec.field(default_factory=_Search)


class _Bundle(Struct):
    type: str = ""
    entry: list[_Entry] = msgspec.field(default_factory=list)


class _Meta(Struct):
    versionId: str  # noqa: N815 - FHIR's name


class _Resource(Struct):
    """Only what has all of this can be taken for what a read would have given."""

    resourceType: str  # noqa: N815 - FHIR's name
    id: str
    meta: _Meta


class _Parameter(Struct):
    name: str = ""


class _Interaction(Struct):
    code: str = ""


class _Kind(Struct):
    type: str = ""
    interaction: list[_Interaction] = msgspec.field(default_factory=list)
    searchParam: list[_Parameter] = msgspec.field(default_factory=list)  # noqa: N815 - FHIR's name


class _Rest(Struct):
    mode: str = ""
    resource: list[_Kind] = msgspec.field(default_factory=list)
    searchParam: list[_Parameter] = msgspec.field(default_factory=list)  # noqa: N815 - FHIR's name


class _Statement(Struct):
    rest: list[_Rest] = msgspec.field(default_factory=list)


_bundle: msgspec.json.Decoder[_Bundle] = msgspec.json.Decoder(_Bundle)
_resource: msgspec.json.Decoder[_Resource] = msgspec.json.Decoder(_Resource)
_statement: msgspec.json.Decoder[_Statement] = msgspec.json.Decoder(_Statement)


def matches(body: bytes, kind: str, ids: Collection[str]) -> dict[str, tuple[bytes, str]]:
    """Give the matches of a searchset that can be taken for what a read gives, by id: JSON and version.

    Left out is whatever was not asked for, lacks its `meta.versionId`, is given in part, or comes twice.

    Parameters
    ----------
    body
        A Bundle.
    kind, ids
        What was searched for.
    """
    try:
        bundle = _bundle.decode(body)
    except UNREADABLE:
        return {}
    found: dict[str, tuple[bytes, str]] = {}
    twice = set()
    for entry in bundle.entry if bundle.type == "searchset" else ():
        if entry.search.mode != "match":
            continue
        try:
            resource = _resource.decode(entry.resource)
        except UNREADABLE:
            continue
        if resource.resourceType != kind or resource.id not in ids:
            continue
        if resource.id in found:
            twice.add(resource.id)
        text = bytes(entry.resource)
        if _SUBSETTED not in text:
            found[resource.id] = text, resource.meta.versionId
    for name in twice:
        del found[name]
    return found


def finds_by_id(statement: bytes, kind: str) -> bool:
    """Tell whether a CapabilityStatement says that resources of a type are found by `_id`."""
    try:
        known = _statement.decode(statement)
    except UNREADABLE:
        return False
    return any(
        any(parameter.name == "_id" for parameter in (*each.searchParam, *rest.searchParam))
        for rest, each in _served(known)
        if each.type == kind and any(one.code == "search-type" for one in each.interaction)
    )


def _served(statement: _Statement) -> Iterator[tuple[_Rest, _Kind]]:
    for rest in statement.rest:
        if rest.mode == "server":
            for each in rest.resource:
                yield rest, each
