"""What R4 says of elements: their types, which are choices, which exist. Data from fhirpathpy's R4 model."""

from __future__ import annotations

from typing import Any

from fhirpathpy.models import models

R4: dict[str, Any] = models["r4"]
_CHOICES: dict[str, list[str]] = R4["choiceTypePaths"]
_TYPES: dict[str, str] = R4["path2Type"]
_PARENTS: dict[str, str] = R4["type2Parent"]
_ELSEWHERE: dict[str, str] = R4["pathsDefinedElsewhere"]

RESOURCE_TYPES = frozenset(
    name for name, parent in _PARENTS.items() if parent in ("DomainResource", "Resource")
) - {"DomainResource"}

# Backbone elements have no type of their own: they are known by what is below them.
_BACKBONES = frozenset(path.rsplit(".", 1)[0] for path in (*_TYPES, *_CHOICES)) | frozenset(_ELSEWHERE)


def child(path: str, key: str) -> str:
    """Give the path that the model knows the element `key` below `path` by."""
    full = f"{path}.{key}"
    return _ELSEWHERE.get(full, full)


def choices(path: str) -> tuple[str, ...]:
    """Give the types an element may have that is stored under its name and type (`value[x]`), or nothing."""
    return tuple(_CHOICES.get(path, ()))


def type_of(path: str) -> str:
    """Give the type of the element at `path`; for a backbone element that is its path."""
    return _TYPES.get(path, path)


def knows(path: str) -> bool:
    """Tell whether R4 has an element at `path` (as `child` gives it)."""
    if path in _TYPES or path in _CHOICES or path in _BACKBONES:
        return True
    # A type has its parent's elements too (an Age those of a Quantity).
    kind, _, key = path.partition(".")
    parent = _PARENTS.get(kind)
    return parent is not None and knows(f"{parent}.{key}")
