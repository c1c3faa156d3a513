"""A decoder that reads of a resource only what the store needs, and skips the rest at the speed of memory.

For every type there is a struct with the resource's id, its meta as it stands, and the elements that its
compartment depends on. A decoder of their union picks the struct by `resourceType`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from sluice_fhir.compartments import REFERENCES, patient_id
from sluice_fhir.fhirpath_model import RESOURCE_TYPES

_MISSING = Raw(b"")
_PATIENT = "Patient/"


class View(Struct, tag_field="resourceType", gc=False):
    """What all types have; `meta` is JSON as it stands, empty if there is none."""

    id: str | None = None
    meta: Raw = _MISSING


class _Reference(Struct, gc=False):
    reference: str | None = None


def _element(name: str, paths: list[list[str]]) -> Any:
    """Make the type of an element of which `paths` are of interest: one or a list of structs."""
    deeper: dict[str, list[list[str]]] = {}
    for path in paths:
        if path:
            deeper.setdefault(path[0], []).append(path[1:])
    kind: Any = _Reference if not deeper else msgspec.defstruct(name, _fields(name, deeper), gc=False)
    return kind | list[kind] | None | UnsetType


def _fields(name: str, children: dict[str, list[list[str]]]) -> list[tuple[str, Any, Any]]:
    return [(child, _element(f"{name}_{child}", paths), UNSET) for child, paths in children.items()]


def _view(type_: str) -> type[View]:
    children: dict[str, list[list[str]]] = {}
    for path in REFERENCES.get(type_, ()):
        first, *rest = path.split(".")
        children.setdefault(first, []).append(rest)
    made = msgspec.defstruct(f"{type_}View", _fields(type_, children), bases=(View,), tag=type_, gc=False)
    assert issubclass(made, View)  # noqa: S101
    return made


VIEWS: dict[str, type[View]] = {type_: _view(type_) for type_ in sorted(RESOURCE_TYPES)}
"""The struct of each R4 type."""

TYPE_OF: dict[type[View], str] = {view: type_ for type_, view in VIEWS.items()}
"""The type of each struct."""

_union: Any = View
for _each in VIEWS.values():
    _union = _each if _union is View else _union | _each

DECODER: msgspec.json.Decoder[View] = msgspec.json.Decoder(_union)
"""Decodes any R4 resource to its view; raises msgspec.ValidationError if an element has another shape."""

Walk = Callable[[Any, set[str], str | None], None]


def _refer(node: Any, found: set[str], base: str | None) -> None:
    for item in node if type(node) is list else (node,):
        reference = item.reference
        # Most references of a Provenance, which may have thousands, are to something else.
        if reference and _PATIENT in reference and (patient := patient_id(reference, base)):
            found.add(patient)


def _walker(path: list[str]) -> Walk:
    name, onward = path[0], _of_each(_walker(path[1:])) if len(path) > 1 else _refer

    def descend(node: Any, found: set[str], base: str | None) -> None:
        child = getattr(node, name)
        if child:
            onward(child, found, base)

    return descend


def _of_each(walk: Walk) -> Walk:
    def every(node: Any, found: set[str], base: str | None) -> None:
        for item in node if type(node) is list else (node,):
            walk(item, found, base)

    return every


_WALKS: dict[type[View], tuple[Walk, ...]] = {
    view: tuple(_walker(path.split(".")) for path in REFERENCES.get(type_, ()))
    for type_, view in VIEWS.items()
}


def patients_in(view: View, base: str | None = None) -> tuple[str, ...]:
    """Give the ids of the patients whose compartments the resource is in, in order.

    The same as `sluice_fhir.compartments.patients_of` of the whole resource, a patient's own id left out.
    """
    found: set[str] = set()
    for walk in _WALKS[type(view)]:
        walk(view, found, base)
    return tuple(sorted(found)) if len(found) > 1 else tuple(found)
