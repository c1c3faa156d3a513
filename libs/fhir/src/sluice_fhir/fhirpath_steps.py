"""The closures that fast FHIRPath expressions are made of.

A step takes the list of values selected so far and gives the next; a test takes one value and gives true,
false, or None where FHIRPath gives nothing. Their results follow fhirpathpy: see `sluice_fhir.fhirpath_fast`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

Step = Callable[[list[Any]], list[Any]]
Test = Callable[[Any], bool | None]


def itself(items: list[Any]) -> list[Any]:
    """Select what is there: the step that is left out when steps are joined."""
    return items


def resource(items: list[Any]) -> list[Any]:
    """Select the resource, named by its type (`Patient.name`)."""
    return items


class Elements:
    """Selects elements by name, level by level: the step that nearly every expression begins with.

    Beside `name` it selects the `_name` siblings that carry a primitive's extensions.

    Parameters
    ----------
    names
        The elements' names, from the top.
    """

    __slots__ = ("_fields", "names")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._fields = tuple((name, f"_{name}") for name in names)

    def __call__(self, items: list[Any]) -> list[Any]:
        """Select from `items`."""
        for name, hidden in self._fields:
            found: list[Any] = []
            for item in items:
                if type(item) is not dict:
                    continue
                value = item.get(name)
                if value is not None:
                    if type(value) is list:
                        found.extend(value)
                    else:
                        found.append(value)
                value = item.get(hidden)
                if value is not None:
                    if type(value) is list:
                        found.extend(value)
                    else:
                        found.append(value)
            if not found:
                return found
            items = found
        return items


def then(first: Step, second: Step) -> Step:
    """Join two steps."""
    if first is itself or first is resource:
        return second
    if isinstance(first, Elements) and isinstance(second, Elements):
        return Elements((*first.names, *second.names))
    return lambda items: second(first(items))


def choice(fields: tuple[tuple[str, str], ...]) -> Step:
    """Select a choice element: the first of `fields` (each with its `_` sibling) that is there."""

    def step(items: list[Any]) -> list[Any]:
        found: list[Any] = []
        for item in items:
            if type(item) is dict:
                for names in fields:
                    values = [item[name] for name in names if item.get(name) is not None]
                    if values:
                        for value in values:
                            found.extend(value if type(value) is list else (value,))
                        break
        return found

    return step


def extension(url: str) -> Step:
    """Select each element's first extension with this `url`."""

    def step(items: list[Any]) -> list[Any]:
        found: list[Any] = []
        for item in items:
            if type(item) is dict:
                extensions = item.get("extension")
                for extension in extensions if type(extensions) is list else ():
                    if type(extension) is dict and extension.get("url") == url:
                        found.append(extension)
                        break
        return found

    return step


def where(test: Test) -> Step:
    """Keep the elements that pass `test`."""
    return lambda items: [item for item in items if test(item)]


def equals(step: Step, literal: Any, wanted: bool) -> Test:
    """Test that what `step` selects is `literal` and nothing else, or (`wanted` false) that it is not."""

    def test(item: Any) -> bool | None:
        found = step([item])
        if not found:
            return None
        return (len(found) == 1 and bool(found[0] == literal)) is wanted

    return test


def fact_of(step: Step) -> Test:
    """Test what a step says that gives a boolean."""

    def test(item: Any) -> bool | None:
        found = step([item])
        return bool(found[0]) if found else None

    return test


def both(left: Test, right: Test) -> Test:
    """Test both, in three-valued logic."""

    def test(item: Any) -> bool | None:
        one, two = left(item), right(item)
        if one is False or two is False:
            return False
        return None if one is None or two is None else True

    return test


def either(left: Test, right: Test) -> Test:
    """Test either, in three-valued logic."""

    def test(item: Any) -> bool | None:
        one, two = left(item), right(item)
        if one or two:
            return True
        return None if one is None or two is None else False

    return test


def distinct(items: list[Any]) -> list[Any]:
    """Drop repeated values; equal means the same JSON."""
    kept: dict[str, Any] = {}
    for item in items:
        kept[json.dumps(item, sort_keys=True)] = item
    return list(kept.values())


PARTS: dict[str, Step] = {
    "first": lambda found: found[:1],
    "last": lambda found: found[-1:],
    "tail": lambda found: found[1:],
}
FACTS: dict[str, Callable[[list[Any]], Any]] = {
    "exists": bool,
    "empty": lambda found: not found,
    "count": len,
}
