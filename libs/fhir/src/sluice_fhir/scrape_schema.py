"""Scrape schemas: what metadata to make of the documents of one kind of FHIR server, as authored.

Rules: `docs/scrape-schemas.md`. A file is first held against the JSON Schema that lies beside it, then
against what JSON Schema cannot say: that expressions compile, that names refer to something, that keys do not
collide. Every problem names the file, the place in it (an RFC 6901 pointer), what is wrong and what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from msgspec import Struct

from sluice_contracts.wire import UNREADABLE

Scalar = str | int | float | bool
DOCUMENT = "document"
META_SCHEMA = "scrape-schema.json"


class Match(Struct, frozen=True, kw_only=True):
    """Which servers a schema is for; what is not given always holds."""

    base_urls: tuple[str, ...] = ()
    software: tuple[str, ...] = ()
    fhir_versions: tuple[str, ...] = ()
    priority: int = 0


class Follow(Struct, frozen=True, kw_only=True):
    """One hop: the resources that `reference` selects on `from`, or that a search finds."""

    type: str | tuple[str, ...]
    from_: str = msgspec.field(name="from", default=DOCUMENT)
    reference: str | None = None
    search: str | None = None
    limit: int = 1
    unless: str | None = None

    @property
    def types(self) -> tuple[str, ...]:
        """The resource types that are accepted."""
        return (self.type,) if isinstance(self.type, str) else self.type


class Place(Struct, frozen=True, kw_only=True):
    """Where a value is: an expression on the resources of a follow."""

    path: str
    from_: str = msgspec.field(name="from", default=DOCUMENT)


class Value(Struct, frozen=True, kw_only=True):
    """One metadata key and how its value is made."""

    key: str
    type: str = "string"
    description: str = ""
    from_: str = msgspec.field(name="from", default=DOCUMENT)
    path: str | tuple[str, ...] | None = None
    first_of: tuple[Place, ...] = ()
    required: bool = False
    map: dict[str, Scalar] | None = None
    map_default: Scalar | None = None
    default: Scalar | None = None
    born: Place | None = None
    at: Place | None = None
    unit: str = "years"

    @property
    def places(self) -> tuple[Place, ...]:
        """Where to look, in the order of preference; for an age: the birth, then the event."""
        if self.born is not None and self.at is not None:
            return (self.born, self.at)
        if self.path is None:
            return self.first_of
        paths = (self.path,) if isinstance(self.path, str) else self.path
        return tuple(Place(path=path, from_=self.from_) for path in paths)


class ScrapeSchema(Struct, frozen=True, kw_only=True):
    """One schema, as authored."""

    name: str
    version: str
    title: str
    match: Match | tuple[Match, ...]
    values: tuple[Value, ...]
    description: str = ""
    follow: dict[str, Follow] = {}

    @property
    def ident(self) -> str:
        """The name and version that metadata made with it are marked with."""
        return f"{self.name}@{self.version}"

    @property
    def matches(self) -> tuple[Match, ...]:
        """The alternatives of `match`."""
        return (self.match,) if isinstance(self.match, Match) else self.match

    @property
    def order(self) -> tuple[int, ...]:
        """The version, comparable."""
        return tuple(int(part) for part in self.version.split("."))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong: `pointer` says where in the file (RFC 6901), `text` what and what to do."""

    pointer: str
    text: str


class SchemaError(ValueError):
    """A scrape schema cannot be used; `problems` lists everything that is wrong with it."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        lines = "\n".join(f"  {problem.pointer or '/'}: {problem.text}" for problem in problems)
        super().__init__(f"{file} is no usable scrape schema:\n{lines}")
        self.file = file
        self.problems = problems


def load_validator(folder: Path) -> Draft202012Validator:
    """Load the JSON Schema of scrape schemas from `folder`.

    Raises
    ------
    SchemaError
        It is not there, or is no JSON Schema.
    """
    file = folder / META_SCHEMA
    try:
        schema = msgspec.json.decode(file.read_bytes())
        Draft202012Validator.check_schema(schema)
    except FileNotFoundError:
        advice = "it is not there; point SLUICE_SCRAPE_SCHEMAS at the folder that holds it"
        raise SchemaError(str(file), [Problem("", advice)]) from None
    except Exception as error:
        raise SchemaError(str(file), [Problem("", f"it is no JSON Schema: {error}")]) from error
    return Draft202012Validator(schema)


def read_schema(data: bytes, file: str, validator: Draft202012Validator) -> ScrapeSchema:
    """Read one schema and hold it against the JSON Schema; `file` is what errors call it.

    Raises
    ------
    SchemaError
        It is not JSON, or not of the form.
    """
    try:
        document = msgspec.json.decode(data)
    except UNREADABLE as error:
        raise SchemaError(file, [Problem("", f"it is not JSON: {error}")]) from None
    problems = [_explain(error) for error in validator.iter_errors(document)]
    if problems:
        raise SchemaError(file, sorted(set(problems), key=lambda problem: problem.pointer))
    try:
        return msgspec.convert(document, ScrapeSchema)
    except msgspec.ValidationError as error:  # the two descriptions of the form disagree
        raise SchemaError(file, [Problem("", str(error))]) from error


def pointer(*parts: str | int) -> str:
    """Give the RFC 6901 pointer to a place in a JSON text."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _explain(error: ValidationError) -> Problem:
    where = pointer(*error.absolute_path)
    schema = _fields(error.schema)
    if error.validator in ("oneOf", "not", "dependentRequired"):
        return Problem(where, str(schema.get("$comment", error.message)))
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = _fields(schema.get("properties"))
        unknown = ", ".join(repr(name) for name in sorted(set(error.instance) - set(known)))
        return Problem(where, f"unknown field {unknown}; known are: {', '.join(sorted(known))}")
    if error.validator == "pattern":
        form = schema.get("description", f"must match {error.validator_value}")
        return Problem(where, f"{error.instance!r} is not of the form: {form}")
    return Problem(where, error.message[:300])


def _fields(schema: Any) -> dict[str, Any]:
    return schema if isinstance(schema, dict) else {}
