"""What FHIRPath finds, as metadata values: strings, numbers, booleans, lists of strings.

Limits are those of the Seven Bridges family's metadata: 1000 keys, keys of 100 bytes, values of 300 bytes
(UTF-8). A longer text is cut at the last character that fits whole; a list keeps its first 100 texts.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from sluice_fhir.references import InvalidReferenceError, parse_reference
from sluice_fhir.scrape_schema import Scalar, Value

MAX_KEYS = 1000
MAX_KEY_BYTES = 100
MAX_VALUE_BYTES = 300
MAX_LIST = 100
# Of what one expression finds in one resource no more is looked at; a resource may hold a million.
MAX_FOUND = 1000
_LARGEST = 10**18

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_DATETIME = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d|:60)?(?:\.\d{1,9})?"
    r"(?:Z|[+-]\d\d:\d\d)?)?)?)?"
)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")

Coerce = Callable[[list[Any]], tuple[Scalar, ...]]


def coercion(value: Value) -> Coerce:
    """Give the function that makes values of `value`'s type of what its expressions find.

    It gives what can be made of the found, in order: one value for a single-valued type, distinct texts for a
    list, nothing if there is nothing of that type. Objects and lists never become values.
    """
    one = _KINDS["date" if value.type == "age" else "string" if value.type == "array" else value.type]
    if value.map is not None:
        one = _mapped(value.map, value.map_default, one)
    return _list_of(one) if value.type == "array" else _first_of(one)


def _first_of(one: Callable[[Any], Scalar | None]) -> Coerce:
    def coerce(found: list[Any]) -> tuple[Scalar, ...]:
        for item in found[:MAX_FOUND]:
            made = one(item)
            if made is not None:
                return (made,)
        return ()

    return coerce


def _list_of(one: Callable[[Any], Scalar | None]) -> Coerce:
    def coerce(found: list[Any]) -> tuple[Scalar, ...]:
        return distinct(made for item in found[:MAX_FOUND] if (made := one(item)) is not None)

    return coerce


def distinct(items: Iterable[Scalar]) -> tuple[Scalar, ...]:
    """Give the first `MAX_LIST` different items, in order."""
    kept: dict[Scalar, None] = {}
    for item in items:
        kept[item] = None
        if len(kept) == MAX_LIST:
            break
    return tuple(kept)


def text(value: Any) -> str | None:
    """Give a string, number or boolean as text that metadata may hold, None for anything else or for none."""
    if type(value) is not str:
        return _written(value)
    if not (value.isascii() and value.isprintable()):
        value = _CONTROL.sub(" ", unicodedata.normalize("NFC", value))
    value = value.strip()
    if len(value) * 4 > MAX_VALUE_BYTES:
        value = value.encode("utf-8", "replace")[:MAX_VALUE_BYTES].decode("utf-8", "ignore").rstrip()
    return value or None


def _written(value: Any) -> str | None:
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int and abs(value) <= _LARGEST:
        return str(value)
    return repr(value) if type(value) is float and math.isfinite(value) else None


def number(value: Any) -> int | float | None:
    """Give a number, also from a text that writes one; None for anything else, or one beyond 10^18."""
    if type(value) is str and _NUMBER.fullmatch(value):
        value = float(value) if "." in value else int(value)
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value if abs(value) <= _LARGEST else None
    return None


def integer(value: Any) -> int | None:
    """Give a whole number, None for anything else."""
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def boolean(value: Any) -> bool | None:
    """Give a boolean, also from the texts `true` and `false`; None for anything else."""
    if type(value) is bool:
        return value
    return {"true": True, "false": False}.get(value) if type(value) is str else None


def datetime(value: Any) -> str | None:
    """Give a FHIR date, dateTime or instant as it stands, None if it is none (R4 section 2.24.0.1)."""
    match = _DATETIME.fullmatch(value) if type(value) is str and len(value) <= 40 else None
    if match is None:
        return None
    year, month, day = (int(part) if part else 1 for part in match.groups())
    try:
        date(year, month, day)
    except ValueError:
        return None
    return str(value)


def day(value: Any) -> str | None:
    """Give the date part, as exact as the source has it: `2020`, `2020-05` or `2020-05-17`."""
    found = datetime(value)
    return found[:10] if found else None


def logical_id(value: Any) -> str | None:
    """Give the id that a literal reference ends in, or an id as it stands."""
    if type(value) is not str:
        return None
    try:
        return parse_reference(value).id
    except InvalidReferenceError:
        return value if _ID.fullmatch(value) else None


def _mapped(
    table: dict[str, Scalar], default: Scalar | None, one: Callable[[Any], Scalar | None]
) -> Callable[[Any], Scalar | None]:
    def coerce(value: Any) -> Scalar | None:
        code = value if type(value) is str else _written(value)
        if code is None:
            return None
        made = table.get(code)
        if made is not None:
            return made
        return default if default is not None else one(value)

    return coerce


def age(born: str, at: str, unit: str) -> int | None:
    """Give the completed years, months or days between two dates; None unless both are whole and in order."""
    try:
        start, end = date.fromisoformat(born), date.fromisoformat(at)
    except ValueError:
        return None
    if end < start:
        return None
    if unit == "days":
        return (end - start).days
    months = (end.year - start.year) * 12 + end.month - start.month - (end.day < start.day)
    return months // 12 if unit == "years" else months


_KINDS: dict[str, Callable[[Any], Scalar | None]] = {
    "string": text,
    "number": number,
    "integer": integer,
    "boolean": boolean,
    "date": day,
    "datetime": datetime,
    "id": logical_id,
}


def is_of_type(value: Scalar, kind: str) -> bool:
    """Tell whether an authored value (a default, a map's entry) is one that `kind` could have."""
    if kind == "array":
        return type(value) is str
    if kind == "age":
        return type(value) is int
    made = _KINDS[kind](value)
    return made == value and type(made) is type(value)
