"""How the values of a search parameter are compared with what its path selects (R4, search, 3.1.1.4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sluice_fhir.search_paths import refers_to
from sluice_fhir.search_table import Kind
from sluice_fhir.search_values import (
    Number,
    compares,
    decimal_of,
    measures,
    number_of,
    plain,
    prefixed,
    span_of,
    spans_of,
    with_plus,
)

Match = Callable[[str, Any], bool]
"""Says of a value, given with its R4 type, whether it is meant."""

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_NAME_PARTS = ("family", "given", "prefix", "suffix", "text")
_ADDRESS_PARTS = ("line", "city", "district", "state", "country", "postalCode", "text")


class ValueNotUnderstoodError(Exception):
    """The value is not of its parameter's kind."""


class ModifierNotSupportedError(Exception):
    """The parameter's kind does not have the modifier, or it is one that is not supported."""


def split(text: str, separator: str) -> list[str]:
    """Split at a separator that no backslash stands before; the backslashes stay."""
    found, start, place = [], 0, 0
    while place < len(text):
        if text[place] == "\\":
            place += 1
        elif text[place] == separator:
            found.append(text[start:place])
            start = place + 1
        place += 1
    return [*found, text[start:]]


def unescaped(text: str) -> str:
    """Take the backslashes off that stand before characters with a meaning."""
    return _ESCAPED.sub(r"\1", text)


def matcher(kind: Kind, modifier: str, text: str, now: datetime) -> Match:
    """Make the test for one value of a parameter, still escaped.

    Raises
    ------
    ValueNotUnderstoodError, ModifierNotSupportedError
        There is no such test.
    """
    makers: dict[Kind, Callable[[str, str], Match]] = {
        Kind.STRING: _string,
        Kind.TOKEN: _token,
        Kind.REFERENCE: _reference,
        Kind.URI: _uri,
    }
    if kind in makers:
        return makers[kind](modifier, text)
    if modifier:
        raise ModifierNotSupportedError
    if kind is Kind.DATE:
        return _date(text, now)
    if kind is Kind.NUMBER:
        return _number(text)
    if kind is Kind.QUANTITY:
        return _quantity(text)
    raise ModifierNotSupportedError


def _date(text: str, now: datetime) -> Match:
    prefix, rest = prefixed(text)
    wanted = span_of(with_plus(rest))
    if wanted is None:
        raise ValueNotUnderstoodError
    return lambda kind, value: any(compares(prefix, span, wanted, now) for span in spans_of(kind, value))


def _wanted_number(text: str) -> Number:
    wanted = number_of(text)
    if wanted is None:
        raise ValueNotUnderstoodError
    return wanted


def _number(text: str) -> Match:
    prefix, rest = prefixed(text)
    wanted = _wanted_number(rest)

    def match(_: str, value: Any) -> bool:
        number = decimal_of(value)
        return number is not None and measures(prefix, number, number, wanted)

    return match


def _quantity(text: str) -> Match:
    prefix, rest = prefixed(text)
    amount, *unit = [unescaped(part) for part in split(rest, "|")]
    wanted = _wanted_number(amount)
    if len(unit) not in (0, 2):
        raise ValueNotUnderstoodError
    system, code = unit or ("", "")

    def of_unit(value: dict[str, Any]) -> bool:
        if not code:
            return True
        if system:
            return value.get("system") == system and value.get("code") == code
        return code in (value.get("code"), value.get("unit"), value.get("currency"))

    def match(kind: str, value: Any) -> bool:
        if type(value) is not dict:
            return False
        if kind == "Range":
            ends = [value.get(end) for end in ("low", "high")]
            given = [end for end in ends if type(end) is dict]
            low, high = (decimal_of(end.get("value")) if type(end) is dict else None for end in ends)
            return bool(given) and all(map(of_unit, given)) and measures(prefix, low, high, wanted)
        number = decimal_of(value.get("value"))
        if number is None or not of_unit(value):
            return False
        below = value.get("comparator") in ("<", "<=")
        above = value.get("comparator") in (">", ">=")
        return measures(prefix, None if below else number, None if above else number, wanted)

    return match


def _string(modifier: str, text: str) -> Match:
    wanted = unescaped(text)
    if modifier == "exact":
        return lambda kind, value: wanted in _texts(kind, value)
    sought = _sought(wanted)
    if modifier == "contains":
        return lambda kind, value: any(sought in plain(each) for each in _texts(kind, value))
    if modifier:
        raise ModifierNotSupportedError
    return lambda kind, value: any(plain(each).startswith(sought) for each in _texts(kind, value))


def _sought(text: str) -> str:
    sought = plain(text)
    if not sought:
        raise ValueNotUnderstoodError  # every text begins with it
    return sought


def _texts(kind: str, value: Any) -> list[str]:
    if type(value) is str:
        return [value]
    if type(value) is not dict:
        return []
    parts = _ADDRESS_PARTS if kind == "Address" else _NAME_PARTS
    found: list[str] = []
    for part in parts:
        text = value.get(part)
        found += [each for each in (text if type(text) is list else [text]) if type(each) is str]
    return found


def _token(modifier: str, text: str) -> Match:
    if modifier == "text":
        sought = _sought(unescaped(text))
        return lambda _, value: any(plain(each).startswith(sought) for each in _labels(value))
    if modifier:
        raise ModifierNotSupportedError
    system, *rest = [unescaped(part) for part in split(text, "|")]
    if len(rest) > 1:
        raise ValueNotUnderstoodError
    if not rest:
        code = system
        return lambda kind, value: any(each == code for _, each in _codes(kind, value))
    (code,) = rest
    if not system and not code:
        raise ValueNotUnderstoodError

    def match(kind: str, value: Any) -> bool:
        for of, each in _codes(kind, value):
            # A code element has no system of its own: its binding implies one, which is not looked up.
            if (of is _IMPLIED or (of or "") == system) and (not code or each == code):
                return True
        return False

    return match


_IMPLIED = object()


def _codes(kind: str, value: Any) -> list[tuple[Any, Any]]:
    """Give the (system, code) pairs of an element."""
    if type(value) is bool:
        return [(_IMPLIED, "true" if value else "false")]
    if type(value) is str:
        return [(_IMPLIED, value)]
    if type(value) is not dict:
        return []
    if kind == "CodeableConcept":
        codings = value.get("coding")
        return [
            pair for each in (codings if type(codings) is list else ()) for pair in _codes("Coding", each)
        ]
    if kind == "Identifier":
        return [(value.get("system"), value.get("value"))]
    if kind == "ContactPoint":
        return [(_IMPLIED, value.get("value"))]
    return [(value.get("system"), value.get("code"))]


def _labels(value: Any) -> list[str]:
    if type(value) is not dict:
        return [value] if type(value) is str else []
    codings = value.get("coding")
    concepts = [value, *(codings if type(codings) is list else ())]
    identified = value.get("type")
    concepts += [identified] if type(identified) is dict else []
    texts = [each.get(key) for each in concepts if type(each) is dict for key in ("text", "display")]
    return [each for each in texts if type(each) is str]


def _reference(modifier: str, text: str) -> Match:
    if modifier == "identifier":
        inner = _token("", text)
        return lambda _, value: type(value) is dict and inner("Identifier", value.get("identifier"))
    if modifier and not modifier[0].isupper():
        raise ModifierNotSupportedError
    wanted = unescaped(text)
    if not wanted:
        raise ValueNotUnderstoodError
    if modifier:
        wanted = wanted if "/" in wanted else f"{modifier}/{wanted}"
        inner = _refers(wanted)
        return lambda kind, value: refers_to(value, modifier) and inner(kind, value)
    return _refers(wanted)


def _refers(wanted: str) -> Match:
    def match(_: str, value: Any) -> bool:
        if type(value) is dict:
            literal = value.get("reference")
            if "resourceType" in value:
                literal = f"{value['resourceType']}/{value.get('id')}"
        else:
            # A canonical: what is after the bar is its version.
            literal = value.partition("|")[0] if type(value) is str and "|" not in wanted else value
        if type(literal) is not str:
            return False
        literal = literal if "/_history/" in wanted else literal.partition("/_history/")[0]
        if literal == wanted:
            return True
        return not _is_absolute(wanted) and literal.endswith(f"/{wanted}")

    return match


def _is_absolute(text: str) -> bool:
    return "://" in text or text.startswith("urn:")


def _uri(modifier: str, text: str) -> Match:
    wanted = unescaped(text)
    if modifier == "below":
        return lambda _, value: type(value) is str and (value == wanted or value.startswith(_folder(wanted)))
    if modifier == "above":
        return lambda _, value: type(value) is str and (value == wanted or wanted.startswith(_folder(value)))
    if modifier:
        raise ModifierNotSupportedError
    return lambda _, value: value == wanted


def _folder(address: str) -> str:
    return address if address.endswith("/") else f"{address}/"
