"""Making import requests: from a request's JSON or from lists of references, cut to what one call takes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from sluice_client.errors import SluiceError
from sluice_client.models import ImportItem, ImportRequest
from sluice_contracts.wire import UNREADABLE

T = TypeVar("T")

MOST_ITEMS = 100
"""How many items one call takes (the import API's limit)."""

_FIELDS = frozenset(ImportItem.__struct_fields__)
_HINT = "It may be a request's JSON, or references one per line, as CSV with a heading, or as NDJSON."


class ImportFileError(SluiceError):
    """A file does not hold what can be imported."""


def chunks(items: Sequence[T], size: int = MOST_ITEMS) -> Iterator[Sequence[T]]:
    """Cut items into lists that one call takes, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def parse(data: bytes, *, project: str | None = None, parent: str | None = None) -> ImportRequest:
    """Read what is to be imported.

    Takes the body of an import request (a JSON object with `items`), a JSON list of items or references,
    NDJSON of either, CSV whose heading names the items' fields (`fhir_document_reference` or `reference`,
    `name`, `project`, `parent`; any other column is metadata), or plain text with one reference per line,
    where empty lines and lines that begin with # are left out.

    Parameters
    ----------
    project, parent
        Where to import items that do not say so themselves.

    Raises
    ------
    ImportFileError
        It is none of these, or holds nothing. The text names the line, never what is on it.
    """
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ImportFileError("The file is not UTF-8 text.", _HINT) from None
    request = _request(text)
    request.items = [_placed(item, project, parent) for item in request.items]
    if not request.items:
        raise ImportFileError("The file holds nothing to import.", _HINT)
    return request


def _request(text: str) -> ImportRequest:
    first = text.partition("\n")[0]
    if text.startswith("{") and not _is_json(first):
        return _body(text)
    if text.startswith("{") and "\n" not in text and '"items"' in text:
        return _body(text)
    if text.startswith("["):
        try:
            values = msgspec.json.decode(text)
        except UNREADABLE:
            raise ImportFileError("The file is not valid JSON.", _HINT) from None
        return ImportRequest(items=[_item(value, f"entry {n}") for n, value in enumerate(values, 1)])
    if text.startswith("{"):
        return ImportRequest(items=list(_ndjson(text)))
    if "," in first and not first.startswith(("http://", "https://")):
        return ImportRequest(items=list(_csv(text)))
    return ImportRequest(items=list(_lines(text)))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except UNREADABLE:
        return False
    return True


def _body(text: str) -> ImportRequest:
    try:
        return msgspec.json.decode(text, type=ImportRequest)
    except msgspec.ValidationError as error:
        where = str(error).partition(" - at `$.")[2].rstrip("`") or "its root"
        raise ImportFileError(f"The request in the file is wrong at {where}.", _HINT) from None
    except UNREADABLE:
        raise ImportFileError("The file is not valid JSON.", _HINT) from None


def _ndjson(text: str) -> Iterable[ImportItem]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield _item(msgspec.json.decode(line), f"line {number}")
            except UNREADABLE:
                raise ImportFileError(f"Line {number} is not valid JSON.", _HINT) from None


def _item(value: Any, where: str) -> ImportItem:
    if isinstance(value, str):
        return ImportItem(fhir_document_reference=value)
    try:
        return msgspec.convert(value, ImportItem)
    except msgspec.ValidationError:
        raise ImportFileError(f"What is in {where} is neither a reference nor an item.", _HINT) from None


def _csv(text: str) -> Iterable[ImportItem]:
    try:
        yield from _rows(text)
    except csv.Error:
        raise ImportFileError("The file is not CSV, or a field of it is too long.", _HINT) from None


def _rows(text: str) -> Iterable[ImportItem]:
    rows = csv.DictReader(io.StringIO(text))
    names = {(name or "").strip() for name in rows.fieldnames or ()}
    if not names & {"fhir_document_reference", "reference"}:
        raise ImportFileError("The CSV has no column fhir_document_reference.", _HINT)
    for row in rows:
        values = {(key or "").strip(): (value or "").strip() for key, value in row.items() if key is not None}
        reference = values.pop("fhir_document_reference", "") or values.pop("reference", "")
        if not reference:
            raise ImportFileError(f"Line {rows.line_num} has no reference.", _HINT)
        known: Mapping[str, Any] = {key: value for key, value in values.items() if key in _FIELDS and value}
        extra = {key: value for key, value in values.items() if key not in _FIELDS and value}
        yield ImportItem(fhir_document_reference=reference, **{**known, "metadata": extra or None})


def _lines(text: str) -> Iterable[ImportItem]:
    for number, line in enumerate(text.splitlines(), 1):
        reference = line.strip()
        if reference and not reference.startswith("#"):
            if not reference.startswith(("http://", "https://")):
                raise ImportFileError(f"Line {number} is no http(s) reference.", _HINT)
            yield ImportItem(fhir_document_reference=reference)


def placed(items: Sequence[ImportItem | str], project: str | None, parent: str | None) -> list[ImportItem]:
    """Give items, where addresses become items that go to `project` or the folder `parent`."""
    return [
        ImportItem(fhir_document_reference=it, project=project, parent=parent) if isinstance(it, str) else it
        for it in items
    ]


def _placed(item: ImportItem, project: str | None, parent: str | None) -> ImportItem:
    if item.project or item.parent:
        return item
    if not project and not parent:
        raise ImportFileError("An item says neither project nor parent.", "Give --project or --parent.")
    return msgspec.structs.replace(item, project=project, parent=None if project else parent)
