"""The paths of search parameters, as closures over decoded resources.

What a path selects comes with its R4 type, because that decides how it is compared. The same selection as the
FHIRPath expression that `fhirpath` gives, which the tests evaluate with fhirpathpy.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sluice_fhir import fhirpath_model as model

Selected = list[tuple[str, Any]]
"""Values, each with its R4 type (for elements without a type of their own, their path)."""

Select = Callable[[Any], list[Any]]
Selector = Callable[[dict[str, Any]], Selected]

_SEGMENT = re.compile(
    r"(?P<name>\w+)(?:\[(?P<cast>\w+)\]|\{(?P<target>\w+)\}|\((?P<key>\w+)=(?P<value>[\w-]+)\)|#(?P<place>\w+))?"
)
_PRIMITIVES = {
    name[0].upper() + name[1:]: name
    for name in (
        *("base64Binary", "boolean", "canonical", "code", "date", "dateTime", "decimal", "id", "instant"),
        *("integer", "markdown", "oid", "positiveInt", "string", "time", "unsignedInt", "uri", "url", "uuid"),
    )
}


def selector(path: str, type_: str) -> Selector:
    """Compile a path for elements of a type: a resource type, or the type or path of an element."""
    branches = [_branch(each, type_) for each in path.split("|")]
    if len(branches) == 1:
        return branches[0]

    def select(node: dict[str, Any]) -> Selected:
        return [found for branch in branches for found in branch(node)]

    return select


@lru_cache(maxsize=4096)
def _branch(path: str, type_: str) -> Selector:
    if path == ".":
        return lambda node: [(type_, node)]
    steps: list[Callable[[Selected], Selected]] = []
    places = [type_]
    for segment in path.split("."):
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise ValueError(f"not a path: {path}")
        elements, places = _elements(match["name"], match["cast"], places)
        steps.append(elements)
        if (filtered := _filter(match)) is not None:
            steps.append(filtered)

    def select(node: dict[str, Any]) -> Selected:
        found: Selected = [(type_, node)]
        for step in steps:
            found = step(found)
        return found

    return select


def _elements(
    name: str, cast: str | None, places: list[str]
) -> tuple[Callable[[Selected], Selected], list[str]]:
    """Make the step from elements at any of `places` to those of a name, and give where these are."""
    keys: dict[str, list[tuple[str, str]]] = {}
    for place in places:
        full = model.child(place, name)
        kinds = model.choices(full)
        if cast is not None:
            kinds = tuple(kind for kind in kinds if kind == cast[0].upper() + cast[1:])
        keys[place] = (
            [(f"{name}{kind}", _PRIMITIVES.get(kind, kind)) for kind in kinds]
            if kinds
            else [(name, model.type_of(full))]
        )

    def step(found: Selected) -> Selected:
        reached: Selected = []
        for place, node in found:
            if type(node) is not dict:
                continue
            for key, kind in keys[place]:
                value = node.get(key)
                if type(value) is list:
                    reached.extend((kind, item) for item in value if item is not None)
                elif value is not None:
                    reached.append((kind, value))
        return reached

    return step, list(dict.fromkeys(kind for found in keys.values() for _, kind in found))


def _filter(match: re.Match[str]) -> Callable[[Selected], Selected] | None:
    target, key, value, place = match["target"], match["key"], match["value"], match["place"]
    if target is not None:
        return lambda found: [each for each in found if refers_to(each[1], target)]
    if key is not None:
        return lambda found: [each for each in found if type(each[1]) is dict and each[1].get(key) == value]
    if place == "true":
        return lambda found: [("boolean", any(value is not False for _, value in found))]
    if place is not None:
        number = int(place)
        return lambda found: found[number : number + 1]
    return None


def refers_to(reference: Any, type_: str) -> bool:
    """Say whether a Reference is to a resource of a type."""
    if type(reference) is not dict:
        return False
    literal = reference.get("reference")
    if type(literal) is str:
        parts = literal.partition("/_history/")[0].rsplit("/", 2)
        if len(parts) > 1:
            return parts[-2] == type_
    return reference.get("type") == type_


def fhirpath(path: str, type_: str) -> str:
    """Give the path as a FHIRPath expression (but without `resolve()`, which needs a server)."""

    def one(branch: str) -> str:
        if branch == ".":
            return type_
        text = type_
        for segment in branch.split("."):
            match = _SEGMENT.fullmatch(segment)
            if match is None:
                raise ValueError(f"not a path: {branch}")
            text += f".{match['name']}"
            if match["cast"]:
                text += f".ofType({match['cast']})"
            elif match["target"]:
                text += f".where(reference.startsWith('{match['target']}/'))"
            elif match["key"]:
                text += f".where({match['key']}='{match['value']}')"
            elif match["place"] == "true":
                text = f"{text}.exists() and {text} != false"
            elif match["place"]:
                text += f"[{match['place']}]"
        return text

    return " | ".join(map(one, path.split("|")))
