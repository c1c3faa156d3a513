"""Parsing request bodies, whichever library the type belongs to: pydantic's models, or msgspec's structs.

The import API's requests are pydantic models, which list every problem at once. Types that libraries share
with other services are structs; msgspec stops at their first problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from sluice_contracts.wire import UNREADABLE
from sluice_gateway.problems import FieldProblem, field_problems, invalid, not_json
from sluice_openapi.schemas import is_struct

Parser = Callable[[bytes], Any]


def parser(kind: Any) -> Parser:
    """Make what parses bodies as `kind`; it raises Problem 400 with what is wrong."""
    parse = _struct_parser(kind) if is_struct(kind) else _model_parser(TypeAdapter(kind))

    def checked(raw: bytes) -> Any:
        body = parse(raw)
        # No text anywhere here may hold NUL: Postgres refuses it, long after this.
        if b"\\u0000" in raw and _holds_nul(msgspec.json.decode(raw)):
            raise invalid([FieldProblem("", "no text may hold the character NUL")])
        return body

    return checked


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(map(_holds_nul, value)) or any(map(_holds_nul, value.values()))
    return isinstance(value, list) and any(map(_holds_nul, value))


def _model_parser(adapter: TypeAdapter[Any]) -> Parser:
    def parse(raw: bytes) -> Any:
        try:
            return adapter.validate_json(raw)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
            if errors[0]["type"] == "json_invalid":
                raise not_json() from None
            raise invalid(field_problems(errors)) from None

    return parse


def _struct_parser(kind: Any) -> Parser:
    decoder = msgspec.json.Decoder(kind)

    def parse(raw: bytes) -> Any:
        try:
            return decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise invalid([_struct_problem(str(error))]) from None
        except UNREADABLE:
            raise not_json() from None

    return parse


def _struct_problem(text: str) -> FieldProblem:
    rule, _, path = text.partition(" - at `")
    if rule.startswith("Invalid"):
        rule = "is not one of the allowed values"  # msgspec's own text repeats the value
    return FieldProblem(path.rstrip("`").removeprefix("$").removeprefix("."), rule)
