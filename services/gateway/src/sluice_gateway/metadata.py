"""Metadata: flat key-value pairs, with the limits of the Seven Bridges v2 API.

At most 1000 pairs, keys of 100 bytes and values of 300; a value is a string, number, boolean, null or an
array of strings. Whole numbers keep to 64 bits, which is what every reader of JSON here can hold.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from sluice_gateway.names import clean_label, unshowable

PAIRS = 1000
KEY_BYTES = 100
VALUE_BYTES = 300
LIST_VALUES = 100
_INT64 = 2**63
_MOST_LISTED = 20


def _text_problem(value: str) -> str | None:
    if len(value) <= VALUE_BYTES and value.isascii() and value.isprintable():
        return None  # most values: nothing more to look at
    if len(value) > VALUE_BYTES or len(value.encode(errors="surrogatepass")) > VALUE_BYTES:
        return f"must be at most {VALUE_BYTES} bytes in UTF-8"
    # Line breaks and tabs are part of ordinary text; other control characters are not.
    return unshowable(value.translate({9: " ", 10: " ", 13: " "}))


def _list_problem(values: list[Any]) -> str | None:
    if len(values) > LIST_VALUES:
        return f"must have at most {LIST_VALUES} values"
    if not all(isinstance(value, str) for value in values):
        return "must be an array of strings only"
    return next((wrong for value in values if (wrong := _text_problem(value))), None)


def value_problem(value: Any) -> str | None:
    """Say which rule a metadata value breaks, or None."""
    if isinstance(value, str):
        return _text_problem(value)
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -_INT64 <= value < _INT64 else "must be a number of 64 bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else "must be a finite number"
    if isinstance(value, list):
        return _list_problem(value)
    return "must be a string, number, boolean, null or array of strings"


def checked(metadata: dict[str, Any]) -> dict[str, Any]:
    """Give the metadata with its keys in composed form.

    Raises
    ------
    ValueError
        A key or value breaks a rule; the text lists each key with its rule.
    """
    if len(metadata) > PAIRS:
        raise ValueError(f"must have at most {PAIRS} pairs")
    clean: dict[str, Any] = {}
    wrong: list[str] = []
    for key, value in metadata.items():
        try:
            clean[clean_label(key, KEY_BYTES)] = value
        except ValueError as error:
            wrong.append(f"a key {error}")
            continue
        if rule := value_problem(value):
            wrong.append(f"'{key}' {rule}")
    if wrong:
        more = f" and {len(wrong) - _MOST_LISTED} more" if len(wrong) > _MOST_LISTED else ""
        raise ValueError(", ".join(wrong[:_MOST_LISTED]) + more)
    return clean


_VALUE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "maxLength": VALUE_BYTES},
        {"type": "number"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": "array", "items": {"type": "string", "maxLength": VALUE_BYTES}, "maxItems": LIST_VALUES},
    ]
}

Metadata = Annotated[
    dict[str, Any],
    AfterValidator(checked),
    WithJsonSchema(
        {
            "type": "object",
            "description": f"Flat key-value pairs. Keys: up to {KEY_BYTES} bytes, strings: {VALUE_BYTES}.",
            "maxProperties": PAIRS,
            "additionalProperties": _VALUE_SCHEMA,
        }
    ),
]
"""Metadata as a request carries it."""
