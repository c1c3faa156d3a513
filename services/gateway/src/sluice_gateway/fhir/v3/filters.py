"""`_typeFilter`: which searches are asked for, checked before anything is promised."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

from sluice_contracts.exports import TypeFilter
from sluice_fhir.search import SearchError, SearchProblem, compile_filter
from sluice_gateway.fhir.v3.parameters import Reading, shown

_NAME = "_typeFilter"
# Searches hold commas themselves (`_id=a,b`): only one before the next type ends a search, and none that is
# part of a value (`\,`).
_NEXT = re.compile(r"(?<!\\),(?=\s*[A-Z][A-Za-z]*\?)")
_REASONS = {
    SearchProblem.UNKNOWN_TYPE: "there is no such resource type",
    SearchProblem.UNKNOWN_PARAMETER: "there is no such search parameter",
    SearchProblem.UNSUPPORTED_PARAMETER: "this search parameter is not supported",
    SearchProblem.UNSUPPORTED_MODIFIER: "this modifier is not supported",
    SearchProblem.RESULT_PARAMETER: "result parameters cannot be used in a filter",
    SearchProblem.BAD_VALUE: "the value cannot be understood",
}


def type_filters(reading: Reading, types: tuple[str, ...] | None) -> tuple[TypeFilter, ...]:
    """Give the searches asked for, each of which can be evaluated.

    Parameters
    ----------
    types
        The types asked for; None: all.
    """
    found: dict[TypeFilter, None] = {}
    if reading.too_many(_NAME, sum(_values(given.value) for given in reading.all(_NAME))):
        return ()
    for given in reading.all(_NAME):
        for text in _NEXT.split(given.value):
            one = _filter(reading, text.strip(), given.place, types)
            # A search of which nothing is left finds every resource. It is left out as a whole: beside others
            # of its type, which are alternatives to it, it would undo them.
            if one is not None and one.query:
                found[one] = None
    return tuple(found)


def _values(text: str) -> int:
    """Give how many values the searches have at most, which are what they cost."""
    plain = unquote(text)
    return 1 + plain.count(",") + plain.count("&")


def _filter(reading: Reading, text: str, place: str, types: tuple[str, ...] | None) -> TypeFilter | None:
    type_, mark, query = text.partition("?")
    parts = [part for part in query.split("&") if part]
    if not mark or not parts:
        reading.wrong(place, f"{_NAME} must be a type, a question mark and a search, as Type?name=value.")
        return None
    try:
        compile_filter(type_, "")
    except SearchError as error:
        reading.unsupported(_NAME, place, f"{shown(error.parameter)}: {_REASONS[error.problem]}")
        return None
    if types is not None and type_ not in types:
        reading.unsupported(_NAME, place, f"{type_} is not among the types asked for by _type")
        return None
    kept = [part for part in parts if _usable(reading, type_, part, place)]
    return TypeFilter(type=type_, query="&".join(kept))


def _usable(reading: Reading, type_: str, part: str, place: str) -> bool:
    # What is no pair at all would be left out in silence.
    if "=" not in part or not parse_qsl(part, keep_blank_values=True):
        reading.wrong(place, f"{_NAME}: a search of {type_} must be of pairs name=value.")
        return False
    try:
        compile_filter(type_, part)
    except SearchError as error:
        text = f"{shown(error.parameter)} of {type_}: {_REASONS[error.problem]}"
        if error.problem is SearchProblem.BAD_VALUE:
            reading.wrong(place, f"{_NAME}: {text}")
        else:
            reading.unsupported(_NAME, place, text)
        return False
    return True
