"""What a Bundle's entries, or submitted resources, ask the store to do."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Literal
from uuid import uuid4

import msgspec
from msgspec import Raw, Struct

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.measures.datatypes import Named
from sluice_fhir.measures.problems import Finding, MeasureError, MeasureProblem
from sluice_fhir.ndjson_resource import LineError, parse
from sluice_fhir.references import is_id

_object = msgspec.json.Decoder(dict[str, Raw]).decode
BundleType = Literal["transaction", "batch"]


def new_id() -> str:
    """Give a new resource id."""
    return str(uuid4())


class Action(StrEnum):
    """What is to be done. `CREATE` gives a new id, `PUT` creates or replaces."""

    DELETE = "DELETE"
    CREATE = "POST"
    PUT = "PUT"


class Entry(Struct, frozen=True):
    """One thing to do.

    Parameters
    ----------
    place
        The entry's place in the Bundle, from 0.
    action
        What to do.
    type, id
        With which resource.
    body
        The resource, one line of JSON with its id; empty for DELETE.
    """

    place: int
    action: Action
    type: str
    id: str
    body: bytes = b""

    @property
    def key(self) -> str:
        """Its type and id, as a reference."""
        return f"{self.type}/{self.id}"


class Intake(Struct, frozen=True):
    """What a Bundle asks for.

    Parameters
    ----------
    type
        A transaction is done as a whole or not at all; the entries of a batch are each on their own.
    size
        How many entries the Bundle has.
    entries
        What to do, in the order in which it has to be done.
    refused
        What is wrong with the other entries of a batch, by their places. A transaction has none.
    """

    type: BundleType
    size: int
    entries: tuple[Entry, ...]
    refused: dict[int, Finding] = {}


def finding(problem: MeasureProblem, place: int, below: str = "") -> Finding:
    """Say what is wrong with the entry at a place."""
    return Finding(problem, where=f"Bundle.entry[{place}]{below}")


def put_or_create(
    resource: bytes | Raw, place: int, make_id: Callable[[], str] = new_id, where: str = "resource"
) -> Entry:
    """Make the entry that stores a resource, under its own id if it has one.

    Raises
    ------
    MeasureError
        BAD_RESOURCE.
    """
    named = named_resource(resource, place, where)
    if named.id is not None:
        return stored(place, Action.PUT, named.resource_type, named.id, resource)
    return stored(place, Action.CREATE, named.resource_type, make_id(), resource)


def named_resource(resource: bytes | Raw, place: int, where: str = "resource") -> Named:
    """Read a resource's type and id.

    Raises
    ------
    MeasureError
        BAD_RESOURCE: it is not JSON, or none of R4.
    """
    try:
        named = msgspec.json.decode(resource, type=Named)
    except UNREADABLE as error:
        raise _bad(place, where) from error
    if named.resource_type not in RESOURCE_TYPES or (named.id is not None and not is_id(named.id)):
        raise _bad(place, where)
    return named


def _bad(place: int, where: str) -> MeasureError:
    return MeasureError.of([finding(MeasureProblem.BAD_RESOURCE, place, f".{where}")])


def stored(place: int, action: Action, type_: str, id_: str, resource: bytes | Raw) -> Entry:
    """Make the entry that stores a resource under an id.

    Raises
    ------
    MeasureError
        BAD_RESOURCE: the store would not keep it.
    """
    try:
        # One line, with every number as it was written.
        body = with_id(msgspec.json.format(bytes(resource), indent=-1), type_, id_)
        parse(body, expect=type_)
    except (LineError, *UNREADABLE) as error:
        raise _bad(place, "resource") from error
    return Entry(place, action, type_, id_, body)


def with_id(body: bytes, type_: str, id_: str) -> bytes:
    """Give a resource this id; what has it stays as it is."""
    members = _object(body)
    encoded = msgspec.json.encode(id_)
    if bytes(members.get("id", b"")) == encoded:
        return body
    rest = (
        b",%b:%b" % (msgspec.json.encode(key), bytes(value))
        for key, value in members.items()
        if key not in ("resourceType", "id")
    )
    return b'{"resourceType":"%b","id":%b%b}' % (type_.encode(), encoded, b"".join(rest))
