"""`_typeFilter`: searches applied to lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sluice_contracts.errors import ItemError
from sluice_exporter.lines import Matches
from sluice_fhir.search import SearchError, compile_filter
from sluice_fhir.stored import decoded
from sluice_streaming.outcomes import Reject


def compile_search(type_: str, queries: Sequence[str], now: datetime, *, lenient: bool) -> Matches:
    """Give whether a line of the type is found by any of the searches; see `Compile`.

    What cannot be looked into is found by none.

    Raises
    ------
    Reject
        A search cannot be used: what the kick-off let through is not known here.
    """
    try:
        found = [compile_filter(type_, query, lenient=lenient, now=lambda: now) for query in queries]
    except SearchError:
        raise Reject(ItemError.INTERNAL) from None

    def matches(line: bytes) -> bool:
        resource = decoded(line)
        return resource is not None and any(each(resource) for each in found)

    return matches
