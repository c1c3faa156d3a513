"""Search expressions as they stand in `_typeFilter`: compiled once, applied to decoded resources.

    wanted = compile_filter("Observation", "category=laboratory&date=ge2024-01-01")
    wanted(resource)

All parameters that R4 defines for a type's own elements can be used, with the modifiers of their kinds. What
needs other resources or an index (chains, `_has`, `_text`, `:in`, `near`) is refused, and so is what is about
the result and not about resources (`_include`, `_sort`, `_count`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.search_match import (
    Match,
    ModifierNotSupportedError,
    ValueNotUnderstoodError,
    matcher,
    split,
)
from sluice_fhir.search_paths import Selector, selector
from sluice_fhir.search_table import Kind, Parameter, parameters

Predicate = Callable[[dict[str, Any]], bool]

RESULT_PARAMETERS = frozenset(
    {
        *("_sort", "_count", "_include", "_revinclude", "_summary", "_total", "_elements", "_contained"),
        *("_containedType", "_format", "_pretty", "_type", "_since", "_outputFormat"),
    }
)
"""Parameters that say what a search gives, and not which resources it finds."""

_NEEDS_MORE = frozenset({"_text", "_content", "_has", "_list", "_query", "_filter"})


class SearchProblem(StrEnum):
    """Why an expression cannot be used."""

    UNKNOWN_TYPE = "unknown_type"
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    UNSUPPORTED_MODIFIER = "unsupported_modifier"
    RESULT_PARAMETER = "result_parameter"
    BAD_VALUE = "bad_value"


class SearchError(Exception):
    """An expression cannot be used: `problem` says why, `parameter` which one it is (or which type)."""

    def __init__(self, problem: SearchProblem, parameter: str) -> None:
        super().__init__(f"{problem.value}: {parameter}")
        self.problem = problem
        self.parameter = parameter


class Filter:
    """A compiled expression.

    Attributes
    ----------
    type
        The type of the resources it is for.
    ignored
        Parameters that were left out, because they cannot be used and that was asked for.
    """

    def __init__(
        self, type_: str, predicates: tuple[Predicate, ...], ignored: tuple[SearchError, ...]
    ) -> None:
        self.type = type_
        self.ignored = ignored
        self._predicates = predicates

    def __call__(self, resource: dict[str, Any]) -> bool:
        """Say whether a decoded resource is found."""
        return all(predicate(resource) for predicate in self._predicates)


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


def parse_type_filter(text: str, *, lenient: bool = False, now: Callable[[], datetime] = utc_now) -> Filter:
    """Compile one `_typeFilter`: a type, a question mark, an expression.

    Raises
    ------
    SearchError
        It cannot be used.
    """
    type_, _, query = text.partition("?")
    return compile_filter(type_, query, lenient=lenient, now=now)


def compile_filter(
    type_: str, query: str, *, lenient: bool = False, now: Callable[[], datetime] = utc_now
) -> Filter:
    """Compile an expression, for example `status=active&code=http://loinc.org|1234-5`, percent-encoded.

    Parameters
    ----------
    lenient
        Leave out parameters that cannot be used, and say which in `ignored`.
    now
        Gives the time that dates are compared with by `ap`.

    Raises
    ------
    SearchError
        The type is none, or (unless `lenient`) a parameter cannot be used.
    """
    if type_ not in RESOURCE_TYPES:
        raise SearchError(SearchProblem.UNKNOWN_TYPE, type_)
    found: list[Predicate] = []
    ignored: list[SearchError] = []
    for name, text in parse_qsl(query, keep_blank_values=True):
        try:
            found.append(_predicate(type_, name, text, now()))
        except SearchError as error:
            if not lenient:
                raise
            ignored.append(error)
    return Filter(type_, tuple(found), tuple(ignored))


def _predicate(type_: str, name: str, text: str, now: datetime) -> Predicate:
    base, _, modifier = name.partition(":")
    if base in RESULT_PARAMETERS:
        raise SearchError(SearchProblem.RESULT_PARAMETER, name)
    if base in _NEEDS_MORE or "." in name:
        raise SearchError(SearchProblem.UNSUPPORTED_PARAMETER, name)
    parameter = parameters(type_).get(base)
    if parameter is None:
        raise SearchError(SearchProblem.UNKNOWN_PARAMETER, name)
    if parameter.kind is Kind.SPECIAL:
        raise SearchError(SearchProblem.UNSUPPORTED_PARAMETER, name)
    if not text:
        raise SearchError(SearchProblem.BAD_VALUE, name)
    try:
        return _compiled(parameter, type_, modifier, text, now)
    except ValueNotUnderstoodError as error:
        raise SearchError(SearchProblem.BAD_VALUE, name) from error
    except ModifierNotSupportedError as error:
        raise SearchError(SearchProblem.UNSUPPORTED_MODIFIER, name) from error


def _compiled(parameter: Parameter, type_: str, modifier: str, text: str, now: datetime) -> Predicate:
    select = selector(parameter.path, type_)
    if modifier == "missing":
        if text not in ("true", "false"):
            raise ValueNotUnderstoodError
        missing = text == "true"
        return lambda resource: bool(select(resource)) is not missing
    values = split(text, ",")
    # An empty one of several would find whatever has the element at all.
    if not all(values):
        raise ValueNotUnderstoodError
    if parameter.kind is Kind.COMPOSITE:
        if modifier:
            raise ModifierNotSupportedError
        return _composite(parameter, type_, select, values, now)
    negated = modifier == "not" and parameter.kind is Kind.TOKEN
    matches = [matcher(parameter.kind, "" if negated else modifier, value, now) for value in values]

    def predicate(resource: dict[str, Any]) -> bool:
        found = select(resource)
        return any(match(kind, value) for kind, value in found for match in matches) is not negated

    return predicate


def _composite(
    parameter: Parameter, type_: str, select: Selector, values: list[str], now: datetime
) -> Predicate:
    """Make the test of a composite: one element has to have all of its components."""
    options: list[list[tuple[str, Match]]] = []
    for value in values:
        parts = split(value, "$")
        if len(parts) != len(parameter.components):
            raise ValueNotUnderstoodError
        options.append(
            [
                (component.path, matcher(component.kind, "", part, now))
                for component, part in zip(parameter.components, parts, strict=True)
            ]
        )

    def holds(resource: dict[str, Any], kind: str, element: Any, path: str, match: Match) -> bool:
        own = path.removeprefix("%")
        found = selector(own, kind)(element) if own == path else selector(own, type_)(resource)
        return any(match(each, value) for each, value in found)

    def predicate(resource: dict[str, Any]) -> bool:
        return any(
            all(holds(resource, kind, element, path, match) for path, match in option)
            for kind, element in select(resource)
            for option in options
        )

    return predicate
