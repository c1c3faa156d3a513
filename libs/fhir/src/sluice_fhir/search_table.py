"""The search parameters of FHIR R4, as a table of our own (`search_parameters.tsv`).

A line has a parameter's name, kind, path and the types that have it, with tabs between. Paths are names of
elements with dots, several with `|` between, and:

| written | meaning |
|---|---|
| `value[Quantity]` | the choice element's Quantity (`valueQuantity`) |
| `subject{Patient}` | only references to a Patient |
| `telecom(system=phone)` | only elements with that value |
| `entry#0` | the first |
| `deceased#true` | whether it is there and not false |
| `.` | the resource itself |
| `%x` | from the resource, in a component of a composite |

A composite's path is followed by its components, `;kind:path` each.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib.resources import files

from msgspec import Struct


class Kind(StrEnum):
    """How a parameter's values are compared (R4, search, 3.1.1.4)."""

    NUMBER = "number"
    DATE = "date"
    STRING = "string"
    TOKEN = "token"  # noqa: S105
    REFERENCE = "reference"
    COMPOSITE = "composite"
    QUANTITY = "quantity"
    URI = "uri"
    SPECIAL = "special"


class Component(Struct, frozen=True):
    """A part of a composite parameter."""

    kind: Kind
    path: str


class Parameter(Struct, frozen=True):
    """A search parameter of one type; `components` are a composite's."""

    name: str
    kind: Kind
    path: str
    components: tuple[Component, ...] = ()


@cache
def _table() -> dict[str, dict[str, Parameter]]:
    found: dict[str, dict[str, Parameter]] = {}
    text = (files("sluice_fhir") / "search_parameters.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        name, kind, definition, types = line.split("\t")
        path, *parts = definition.split(";")
        components = tuple(Component(Kind(part.partition(":")[0]), part.partition(":")[2]) for part in parts)
        parameter = Parameter(name, Kind(kind), path, components)
        for type_ in types.split():
            found.setdefault(type_, {})[name] = parameter
    return found


def parameters(type_: str) -> dict[str, Parameter]:
    """Give the search parameters of a type by name, those of all resources included."""
    return {**_table()["Resource"], **_table().get(type_, {})}
