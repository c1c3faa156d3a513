"""A line of NDJSON as the store keeps it.

The line stays as it is, byte for byte, but for `meta.versionId` and `meta.lastUpdated`, which are the store's
own: it is cut where they go, so that no number is read and written anew.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

import msgspec
from msgspec import Raw, Struct
from xxhash import xxh3_128

from sluice_fhir.compartments import ordered, patients_of, referenced
from sluice_fhir.compartments_view import DECODER, TYPE_OF, VIEWS, patients_in

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}").fullmatch
# The namespace of the ids that are made of contents.
_CONTENTS = UUID("6f3b3c0e-52c4-5a41-9d5e-1d8a4c7be0f2")
_META = b'"meta"'
_BETWEEN = b" \t\r,"
_ESCAPED_LETTER = re.compile(rb"\\u00[67]").search
_NULL = Raw(b"null")
_OF_GROUPS = frozenset({"type", "name", "member"})
_object = msgspec.json.Decoder(dict[str, Raw]).decode
_instant = msgspec.json.Decoder(datetime).decode


class LineProblem(StrEnum):
    """Why a line is not a resource that can be kept."""

    TOO_LONG = "too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NOT_A_RESOURCE = "not_a_resource"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_TYPE = "wrong_type"
    BAD_ID = "bad_id"


class LineError(Exception):
    """The line cannot be kept; the text is the `problem` and nothing of the line."""

    def __init__(self, problem: LineProblem) -> None:
        super().__init__(problem.value)
        self.problem = problem


class Resource(Struct, frozen=True, gc=False):
    """A resource to be kept.

    `head` and `tail` are the line around its meta, `rest` is what its meta has beside version and time (each
    member with a comma in front), `digest` stands for all three. `source_updated` is the meta.lastUpdated it
    came with. `patients` are those whose compartments it is in, in order. `members` are a Group's patients,
    None for other resources. `nameless` ones came without an id and have one that is made of their content.
    """

    type: str
    id: str
    head: bytes
    rest: bytes
    tail: bytes
    digest: bytes
    source_updated: datetime | None
    patients: tuple[str, ...]
    members: tuple[str, ...] | None = None
    name: str = ""
    nameless: bool = False

    def body(self, version: int, updated: bytes) -> bytes:
        """Give the line with this version; `updated` is its instant as text."""
        return b'%b"meta":{"versionId":"%d","lastUpdated":"%b"%b}%b' % (
            self.head,
            version,
            updated,
            self.rest,
            self.tail,
        )


class _Read(Struct, gc=False):
    type: str
    id: str | None
    meta: bytes
    patients: tuple[str, ...]


def parse(text: bytes, *, base: str | None = None, expect: str | None = None) -> Resource:
    """Read a line.

    A resource without an id gets one that is made of its content, so that the same line gets the same again.

    Parameters
    ----------
    text
        The line, without its end and without white space around it.
    base
        The server it comes from, without a slash at its end: absolute references to it count as references
        to what is loaded.
    expect
        The only type it may have, if it must have one.

    Raises
    ------
    LineError
        It cannot be kept.
    """
    read = _read(text, base)
    if expect is not None and read.type != expect:
        raise LineError(LineProblem.WRONG_TYPE)
    id_ = read.id
    if id_ is None:
        text, id_ = _with_id(text, read.type)
    elif not _ID(id_):
        raise LineError(LineProblem.BAD_ID)
    cut = _cut(text, read.type, id_, read.meta)
    patients = read.patients
    if read.type == "Patient" and id_ not in patients:
        patients = ordered((*patients, id_))
    members, name = group_members(text, base) if read.type == "Group" else (None, "")
    return Resource(
        read.type,
        id_,
        cut.head,
        cut.rest,
        cut.tail,
        cut.digest(),
        cut.source_updated,
        patients,
        members,
        name,
        read.id is None,
    )


def _read(text: bytes, base: str | None) -> _Read:
    try:
        view = DECODER.decode(text)
        # What the view skips is checked to be JSON, but not to be UTF-8.
        if not text.isascii():
            text.decode()
    except msgspec.ValidationError:
        return _read_fully(text, base)
    except RecursionError as error:
        raise LineError(LineProblem.TOO_DEEP) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LineError(_unreadable(text)) from error
    return _Read(TYPE_OF[type(view)], view.id, bytes(view.meta), patients_in(view, base))


def _unreadable(text: bytes) -> LineProblem:
    try:
        text.decode()
    except UnicodeDecodeError:
        return LineProblem.NOT_UTF8
    return LineProblem.NOT_JSON


def _read_fully(text: bytes, base: str | None) -> _Read:
    """Read a resource some element of which has another shape than R4 gives it.

    It is kept as it is, as long as it can be named: the store does not judge resources.
    """
    try:
        raw = _object(text)
    except RecursionError as error:
        raise LineError(LineProblem.TOO_DEEP) from error
    except msgspec.ValidationError as error:
        raise LineError(LineProblem.NOT_A_RESOURCE) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LineError(_unreadable(text)) from error
    resource = {name: _loosely(value) for name, value in raw.items()}
    type_, id_ = resource.get("resourceType"), resource.get("id")
    if not isinstance(type_, str):
        raise LineError(LineProblem.NOT_A_RESOURCE)
    if type_ not in VIEWS:
        raise LineError(LineProblem.UNKNOWN_TYPE)
    if not isinstance(id_, str) and raw.get("id", _NULL) != _NULL:
        raise LineError(LineProblem.BAD_ID)
    try:
        patients = patients_of(resource, base)
    except RecursionError as error:
        raise LineError(LineProblem.TOO_DEEP) from error
    return _Read(type_, id_, bytes(raw.get("meta", b"")), patients)


def _with_id(text: bytes, type_: str) -> tuple[bytes, str]:
    fields = _object(text)
    fields.pop("id", None)
    id_ = str(uuid5(_CONTENTS, hashlib.sha256(text).hexdigest()))
    rest = b"".join(_member(key, raw) for key, raw in fields.items() if key != "resourceType")
    return b'{"resourceType":"%b","id":"%b"%b}' % (type_.encode(), id_.encode(), rest), id_


def _member(key: str, raw: Raw) -> bytes:
    return b",%b:%b" % (msgspec.json.encode(key), bytes(raw))


class _Cut(Struct, gc=False):
    """A line around its meta: `head`, `rest` of the meta, `tail`. What stands between them is the store's."""

    head: bytes
    rest: bytes
    tail: bytes
    source_updated: datetime | None

    def digest(self) -> bytes:
        # Of the content, wherever in the line its meta was, and whether there was one if it said nothing.
        head, tail = self.head.rstrip(_BETWEEN), self.tail
        found = xxh3_128(head)
        found.update(tail.lstrip(_BETWEEN) if head == b"{" else tail)
        found.update(b"\n")
        found.update(self.rest)
        return found.digest()


def _cut(text: bytes, type_: str, id_: str, meta: bytes) -> _Cut:
    start = b'{"resourceType":"%b"' % type_.encode()
    if not meta and text.startswith(start):
        return _Cut(start + b",", b"", text[len(start) :], None)
    rest, source_updated = _rest_of_meta(meta) if meta not in (b"", b"null") else (b"", None)
    if meta and (found := _place_of_meta(text, start, id_, meta)) is not None:
        place, end = found
        return _Cut(text[:place], rest, text[end:], source_updated)
    others = (_member(key, raw) for key, raw in _object(text).items() if key not in ("resourceType", "meta"))
    return _Cut(start + b",", rest, b"".join(others) + b"}", source_updated)


def _place_of_meta(text: bytes, start: bytes, id_: str, meta: bytes) -> tuple[int, int] | None:
    """Find where the resource's meta begins and ends, if that is plain."""
    member = b'"meta":' + meta
    # Where nearly everybody has it: after the type, or after type and id.
    for before in (start + b",", b'%b,"id":"%b",' % (start, id_.encode())):
        if text.startswith(member, len(before)) and text.startswith(before):
            return len(before), len(before) + len(member)
    place = text.find(_META)
    # Only if it is named once is it surely the resource's own, and not a contained resource's, nor
    # the end of a text while the name itself is spelt with an escape.
    if place < 0 or text.find(_META, place + 1) >= 0 or _ESCAPED_LETTER(text):
        return None
    return place, text.index(meta, place + len(_META)) + len(meta)


@lru_cache(maxsize=1024)
def _rest_of_meta(meta: bytes) -> tuple[bytes, datetime | None]:
    try:
        fields = _object(meta)
    except msgspec.ValidationError as error:
        raise LineError(LineProblem.NOT_A_RESOURCE) from error
    fields.pop("versionId", None)
    updated = fields.pop("lastUpdated", None)
    rest = b"".join(_member(key, raw) for key, raw in fields.items())
    return rest, None if updated is None else _moment(bytes(updated))


def _moment(raw: bytes) -> datetime | None:
    try:
        moment = _instant(raw)
    except msgspec.DecodeError:
        return None
    try:
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except OverflowError:
        return None  # its zone takes it beyond all years


def _loosely(raw: Raw) -> Any:
    """Give a value; None for one that cannot be held here (a number beyond all ranges), or only just."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return None


def group_members(text: bytes, base: str | None = None) -> tuple[tuple[str, ...], str]:
    """Give the patients that are active members of a Group of persons, and its name."""
    # Whatever else it has may be of any shape.
    group = {name: _loosely(raw) for name, raw in _object(text).items() if name in _OF_GROUPS}
    name = group.get("name")
    found: list[str] = []
    members = group.get("member")
    if group.get("type") == "person" and isinstance(members, list):
        for member in members:
            if isinstance(member, dict) and member.get("inactive") is not True:
                found += referenced(member.get("entity"), base)
    return ordered(found), name if isinstance(name, str) else ""
