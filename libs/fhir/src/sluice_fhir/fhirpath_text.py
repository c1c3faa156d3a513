"""FHIRPath's string functions, as steps: each takes one string, or nothing and gives nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Step = Callable[[list[Any]], list[Any]]


class TextError(Exception):
    """A string function met several values, or something that is no string."""


_MAKE: dict[str, tuple[tuple[type, ...], Callable[..., Any]]] = {
    "lower": ((), str.lower),
    "upper": ((), str.upper),
    "trim": ((), str.strip),
    "split": ((str,), str.split),
    "startsWith": ((str,), lambda text, start: bool(text) and text.startswith(start)),
    "endsWith": ((str,), lambda text, end: bool(text) and text.endswith(end)),
    "contains": ((str,), lambda text, part: part in text),
}


def text_function(name: str, arguments: list[Any]) -> Step | None:
    """Give the step for the function `name` with these literal arguments, or None if there is none."""
    if name == "join" and [type(argument) for argument in arguments] in ([], [str]):
        return _join(*arguments)
    types, function = _MAKE.get(name, ((), None))
    if function is None or tuple(type(argument) for argument in arguments) != types:
        return None
    if name == "split" and not arguments[0]:
        return None

    def step(found: list[Any]) -> list[Any]:
        if not found:
            return []
        if len(found) != 1 or type(found[0]) is not str:
            raise TextError
        made = function(found[0], *arguments)
        return made if type(made) is list else [made]

    return step


def _join(separator: str = "") -> Step:
    def step(found: list[Any]) -> list[Any]:
        if not all(type(value) is str for value in found):
            raise TextError
        return [separator.join(found)] if found else []

    return step
