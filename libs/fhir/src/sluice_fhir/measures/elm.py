"""ELM, the compiled form of CQL (HL7 Clinical Quality Language, ELM r1), as Libraries carry it in JSON."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
from msgspec import Struct

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.json_depth import is_deeper
from sluice_fhir.measures.datatypes import DEEPEST_ELM, Library, name_of
from sluice_fhir.measures.problems import MeasureError, MeasureProblem

ELM_JSON = "application/elm+json"

Node = dict[str, Any]
"""An expression; its `type` says which."""


class Identifier(Struct, frozen=True):
    """What a library calls itself."""

    id: str
    system: str | None = None
    version: str | None = None


class Include(Struct, frozen=True, rename="camel"):
    """A library that is used, under a name that holds in the including library only."""

    local_identifier: str
    path: str
    version: str | None = None


class Statement(Struct, frozen=True):
    """A named expression, or a function (several may have the same name)."""

    name: str
    expression: Node | None = None


class CodeSystem(Struct, frozen=True):
    """A code system; `id` is its URL."""

    name: str
    id: str
    version: str | None = None


class ValueSet(Struct, frozen=True):
    """A value set; `id` is its canonical URL."""

    name: str
    id: str
    version: str | None = None


class Link(Struct, frozen=True, rename="camel"):
    """A definition's name, in this library or in an included one."""

    name: str
    library_name: str | None = None


class Code(Struct, frozen=True, rename="camel"):
    """A code; `id` is the code itself."""

    name: str
    id: str
    display: str | None = None
    code_system: Link | None = None


class Concept(Struct, frozen=True):
    """Codes that mean the same."""

    name: str
    code: tuple[Link, ...] = ()


class _Includes(Struct, frozen=True):
    def_: tuple[Include, ...] = msgspec.field(default=(), name="def")


class _Statements(Struct, frozen=True):
    def_: tuple[Statement, ...] = msgspec.field(default=(), name="def")


class _CodeSystems(Struct, frozen=True):
    def_: tuple[CodeSystem, ...] = msgspec.field(default=(), name="def")


class _ValueSets(Struct, frozen=True):
    def_: tuple[ValueSet, ...] = msgspec.field(default=(), name="def")


class _Codes(Struct, frozen=True):
    def_: tuple[Code, ...] = msgspec.field(default=(), name="def")


class _Concepts(Struct, frozen=True):
    def_: tuple[Concept, ...] = msgspec.field(default=(), name="def")


class _Library(Struct, frozen=True, rename="camel"):
    identifier: Identifier
    includes: _Includes = _Includes()
    statements: _Statements = _Statements()
    code_systems: _CodeSystems = _CodeSystems()
    value_sets: _ValueSets = _ValueSets()
    codes: _Codes = _Codes()
    concepts: _Concepts = _Concepts()


class _File(Struct, frozen=True):
    library: _Library


class Elm:
    """A library's definitions by their names."""

    def __init__(self, library: _Library) -> None:
        self.identifier = library.identifier
        self.includes = {each.local_identifier: each for each in library.includes.def_}
        self.statements: dict[str, list[Node]] = {}
        for statement in library.statements.def_:
            bodies = self.statements.setdefault(statement.name, [])
            # An external function has none.
            if statement.expression is not None:
                bodies.append(statement.expression)
        self.code_systems = {each.name: each for each in library.code_systems.def_}
        self.value_sets = {each.name: each for each in library.value_sets.def_}
        self.codes = {each.name: each for each in library.codes.def_}
        self.concepts = {each.name: each for each in library.concepts.def_}


def elm_of(library: Library) -> Elm:
    """Read the ELM of a Library.

    Raises
    ------
    MeasureError
        NO_ELM, BAD_BASE64, BAD_ELM_JSON, TOO_DEEP, or BAD_ELM if the JSON is something else.
    """
    about = name_of(library)
    data = next(
        (each.data for each in library.content if each.data and _media_type(each.content_type) == ELM_JSON),
        None,
    )
    if data is None:
        raise MeasureError(MeasureProblem.NO_ELM, about)
    try:
        # R4 lets base64Binary have white space between.
        text = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MeasureError(MeasureProblem.BAD_BASE64, about) from error
    return parse_elm(text, about)


def parse_elm(text: bytes, about: str = "") -> Elm:
    """Read ELM JSON.

    Raises
    ------
    MeasureError
        BAD_ELM_JSON, TOO_DEEP, or BAD_ELM if the JSON is something else.
    """
    if is_deeper(text, DEEPEST_ELM):
        raise MeasureError(MeasureProblem.TOO_DEEP, about)
    try:
        return Elm(msgspec.json.decode(text.removeprefix(b"\xef\xbb\xbf"), type=_File).library)
    except msgspec.ValidationError as error:
        raise MeasureError(MeasureProblem.BAD_ELM, about) from error
    except UNREADABLE as error:
        raise MeasureError(MeasureProblem.BAD_ELM_JSON, about) from error


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
