"""The parameters of an export that brings what a measure needs (Bulk Data Access, `_type`, `_typeFilter`).

A filter may let through too much and must never hold back what is needed. So a type is filtered only if
every requirement of that type can be said by a search parameter that covers all that the element may be, and
filters of one type are alternatives, as Bulk Data Access has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote

from msgspec import Struct

from sluice_fhir.measures.datatypes import CodeFilter, Coding, DataRequirement
from sluice_fhir.measures.requirements import Requirements
from sluice_fhir.search_table import Kind, parameters

# In a value these mean something to FHIR's search, and have to be escaped to be taken as they are.
_ESCAPES = str.maketrans({"\\": "\\\\", ",": "\\,", "|": "\\|", "$": "\\$"})
LONGEST_QUERY = 2_000
"""Characters of a filter; a type that would need a longer one is not filtered. URLs have limits."""


class ExportQuery(Struct, frozen=True):
    """What to ask a source for: types, in order, and filters like `Encounter?type:in=…`, percent-encoded."""

    types: tuple[str, ...]
    type_filters: tuple[str, ...] = ()

    def parameters(self) -> list[tuple[str, str]]:
        """Give the query's parameters, to be percent-encoded as they are joined onto an export's URL."""
        found = [("_type", ",".join(self.types))]
        return found + [("_typeFilter", each) for each in self.type_filters]


def export_query(requirements: Requirements, *, type_filters: bool = False) -> ExportQuery:
    """Say what to ask a source for.

    Parameters
    ----------
    type_filters
        Filter by value sets and codes, as the source is known to support (`:in` is optional in R4).
    """
    if not type_filters:
        return ExportQuery(requirements.types)
    found: list[str] = []
    for type_ in requirements.types:
        needed = [each for each in requirements.requirements if each.type == type_]
        found += _filters(type_, needed)
    return ExportQuery(requirements.types, tuple(found))


def _filters(type_: str, needed: Iterable[DataRequirement]) -> list[str]:
    """Give the filters of a type, none if some requirement cannot be filtered."""
    found: dict[str, None] = {}
    for requirement in needed:
        conditions = [text for each in requirement.code_filter if (text := _condition(type_, each))]
        query = f"{type_}?{'&'.join(dict.fromkeys(conditions))}"
        if not conditions or len(query) > LONGEST_QUERY:
            return []
        found[query] = None
    return list(found)


def _condition(type_: str, wanted: CodeFilter) -> str | None:
    name = wanted.search_param or token_parameter(type_, wanted.path or "")
    # Of a value set and codes beside it either will do, which no single condition can say.
    if name is None or bool(wanted.value_set) is bool(wanted.code):
        return None
    if wanted.value_set:
        return f"{name}:in={quote(wanted.value_set, safe='/:')}"
    codes = [_token(each) for each in wanted.code]
    if None in codes:
        return None
    # A comma in a filter is encoded: older servers divide `_typeFilter` at commas.
    return f"{name}={quote(','.join(filter(None, codes)), safe='/:')}"


def _token(code: Coding) -> str | None:
    if not code.code:
        return None
    text = code.code.translate(_ESCAPES)
    return f"{code.system.translate(_ESCAPES)}|{text}" if code.system else text


@lru_cache(maxsize=1024)
def token_parameter(type_: str, path: str) -> str | None:
    """Give the search parameter by which an element's codes can be searched; None if there is none.

    A parameter that sees only some of what the element may be (MedicationRequest's `code` sees
    `medicationCodeableConcept`, not `medicationReference`) is none.
    """
    names = [
        name
        for name, parameter in parameters(type_).items()
        if parameter.kind is Kind.TOKEN and path and path in parameter.path.split("|")
    ]
    # Of several, the one with the element's own name: `Encounter.type` is `type`.
    return min(names, key=lambda name: (name != path, name), default=None)
