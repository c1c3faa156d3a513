"""Walking through OpenAPI and AsyncAPI documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def operations(shown: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Give an OpenAPI document's operations: method, path, and what is said of it."""
    for path, methods in shown["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(value: Any) -> Iterator[str]:
    """Give every `$ref` that a document, or a part of it, has."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)
