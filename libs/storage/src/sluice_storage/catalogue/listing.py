"""The conditions of a listing as SQL over `files.entries e`: fixed fragments and numbered parameters."""

from __future__ import annotations

from typing import Any

import msgspec

from sluice_storage.catalogue.model import Entry, Listing
from sluice_storage.catalogue.rows import json_text

_BELOW = """e.parent IN (
    WITH RECURSIVE below AS (
        SELECT id FROM files.entries WHERE id = {0}
        UNION ALL
        SELECT f.id FROM files.entries f JOIN below b ON f.parent = b.id WHERE f.kind = 'folder'
    ) SELECT id FROM below)"""


def filters_of(listing: Listing, folder: Entry) -> tuple[str, list[Any]]:
    """Give the condition for `listing`, whose parent is `folder`, and the values of its parameters."""
    values: list[Any] = []

    def parameter(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    if not listing.recursive:
        conditions = ["e.parent = " + parameter(listing.parent)]
    elif folder.parent is None:
        conditions = ["e.project = " + parameter(folder.project), "e.parent IS NOT NULL"]
    else:
        conditions = [_BELOW.format(parameter(listing.parent))]
    if listing.kind is not None:
        conditions.append("e.kind = " + parameter(listing.kind.value))
    if listing.names:
        conditions.append(f"e.name = ANY({parameter(list(listing.names))})")
    if listing.tags:
        conditions.append(f"e.tags && {parameter(list(listing.tags))}::text[]")
        conditions.append("e.tags <> '{}'")
    if listing.job is not None:
        conditions.append(f"e.origin_job = {parameter(listing.job)}")
    for key, wanted in listing.metadata.items():
        shapes = [{key: value} for text in wanted for value in _spelled(text)]
        contained = [f"e.metadata @> {parameter(json_text(shape))}::jsonb" for shape in shapes]
        conditions.append(f"({' OR '.join(contained)})")
        conditions.append("e.metadata <> '{}'")
    return " AND ".join(conditions), values


def _spelled(text: str) -> list[Any]:
    """Give the JSON values that a filter's text may mean: itself, in a list, and what it is the JSON of."""
    values: list[Any] = [text, [text]]
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return values
    if isinstance(value, bool | int | float):
        values.append(value)
    return values
