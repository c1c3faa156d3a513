"""Parsing request bodies, whichever library the type belongs to: pydantic's models, or msgspec's structs.

The import API's requests are pydantic models, which list every problem at once. Types that libraries share
with other services are structs; msgspec stops at their first problem.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from sluice_gateway.problems import FieldProblem, field_problems, invalid, not_json

Parser = Callable[[bytes], Any]


def is_struct(kind: Any) -> bool:
    """Whether a type is one of msgspec's."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def parser(kind: Any) -> Parser:
    """Make what parses bodies as `kind`; it raises Problem 400 with what is wrong."""
    return _struct_parser(kind) if is_struct(kind) else _model_parser(TypeAdapter(kind))


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
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise not_json() from None

    return parse


def _struct_problem(text: str) -> FieldProblem:
    rule, _, path = text.partition(" - at `")
    if rule.startswith("Invalid"):
        rule = "is not one of the allowed values"  # msgspec's own text repeats the value
    return FieldProblem(path.rstrip("`").removeprefix("$").removeprefix("."), rule)
