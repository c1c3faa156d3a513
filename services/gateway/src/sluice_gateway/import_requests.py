"""Reading an import request so that one answer lists everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.sources import Source
from sluice_gateway.models.imports import ImportRequest
from sluice_gateway.problems import FieldProblem, field_problems, not_json
from sluice_gateway.references import checked_reference
from sluice_gateway.source_matching import SourceMatcher, source_for, unregistered

_ADAPTER = TypeAdapter(ImportRequest)
Candidate = tuple[int, str]
"""An item's position and its reference, which is well-formed."""


def parse_import(raw: bytes) -> tuple[ImportRequest | None, list[Candidate], list[FieldProblem]]:
    """Read a body.

    Returns
    -------
    tuple
        The request, None if a field is wrong; the references whose source is still to be checked, also of
        a request that is wrong elsewhere; and the field problems.

    Raises
    ------
    Problem
        400: the body is not JSON at all.
    """
    try:
        request = _ADAPTER.validate_json(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        if errors[0]["type"] == "json_invalid":
            raise not_json() from None
        return None, _sound_references(raw), field_problems(errors)
    return request, [(i, item.fhir_document_reference) for i, item in enumerate(request.items)], []


def _sound_references(raw: bytes) -> list[Candidate]:
    try:
        body: Any = msgspec.json.decode(raw)
    except UNREADABLE:
        return []
    items = body.get("items") if isinstance(body, dict) else None
    found: list[Candidate] = []
    for index, item in enumerate(items[:100] if isinstance(items, list) else ()):
        reference = item.get("fhir_document_reference") if isinstance(item, dict) else None
        if not isinstance(reference, str):
            continue
        try:
            found.append((index, checked_reference(reference)))
        except ValueError:
            continue  # already among the field problems
    return found


async def registered(
    sources: SourceMatcher, candidates: Sequence[Candidate], client: str
) -> tuple[dict[int, str], list[FieldProblem]]:
    """Find each reference's source, for a client that may import from it.

    Returns
    -------
    tuple
        Source ids by item position, and a problem for each reference that no registered source covers.
    """
    known: dict[str, Source | None] = {}
    found: dict[int, str] = {}
    problems: list[FieldProblem] = []
    for index, reference in candidates:
        # All documents of one server share their source; a job rarely names more than one or two.
        base = reference.rpartition("/DocumentReference/")[0]
        if base not in known:
            known[base] = await source_for(sources, reference, client)
        source = known[base]
        if source is None:
            problems.append(unregistered(f"items[{index}].fhir_document_reference"))
        else:
            found[index] = source.id
    return found, problems
