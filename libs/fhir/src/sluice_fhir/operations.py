"""What operations take: Parameters resources (R4), declared once for reading them and for the documents.

    TAKEN = Taken("ThingParameters", "Which things.", (
        Parameter("_type", "Only these types.", ("valueString",), "Patient", most=None),
    ))

Readers look up names and forms here; `Taken.schema` is what the API's document says. A reader may take more
than that, as some clients send it, and never less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

TEXTS = ("valueString", "valueCode", "valueUri")
URLS = ("valueUrl", "valueUri", "valueString")
INSTANTS = ("valueInstant", "valueDateTime", "valueString")
PARTS = ("part",)
RESOURCE = ("resource",)

_TEXT: Json = {"type": "string", "minLength": 1}
_URL: Json = {"type": "string", "format": "uri"}
_VALUES: Mapping[str, Json] = {
    "valueBoolean": {"type": "boolean"},
    "valueCode": _TEXT,
    "valueCoding": {
        "type": "object",
        "properties": {"system": _URL, "code": _TEXT},
        "required": ["code"],
    },
    "valueDate": {"type": "string", "format": "date"},
    "valueDateTime": {"type": "string", "format": "date-time"},
    "valueId": _TEXT,
    "valueIdentifier": {
        "type": "object",
        "properties": {"system": _URL, "value": _TEXT},
        "required": ["value"],
    },
    "valueInstant": {"type": "string", "format": "date-time"},
    "valueReference": {"type": "object", "properties": {"reference": _TEXT}, "required": ["reference"]},
    "valueString": _TEXT,
    "valueUri": _URL,
    "valueUrl": _URL,
}


@dataclass(frozen=True, slots=True, eq=False)
class Parameter:
    """A parameter of an operation (R4, `OperationDefinition.parameter`).

    Parameters
    ----------
    name
        Its name.
    about
        What it is for.
    forms
        The elements of which one holds its value, the usual one first: `valueString`, `resource`, `part`.
    example
        A value in the usual form; for `part` the parts' own are the example.
    least, most
        How often it may be there; None: any number of times.
    values
        The only texts, or codes of a Coding, that it may have.
    type
        Which resource it is.
    parts
        What a `part` holds; nothing: whatever is given.
    """

    name: str
    about: str
    forms: tuple[str, ...]
    example: Any = None
    least: int = 0
    most: int | None = 1
    values: tuple[str, ...] = ()
    type: str | None = None
    parts: tuple[Parameter, ...] = ()

    def shown(self) -> Json:
        """Give an example of it."""
        held = [each.shown() for each in self.parts] if self.forms == PARTS else self.example
        return {"name": self.name, self.forms[0]: held}

    def schema(self) -> Json:
        """Give the JSON Schema of it in a Parameters resource."""
        required = list(self.forms) if len(self.forms) == 1 else []
        schema: Json = {
            "type": "object",
            "title": self.name,
            "description": self.about,
            "properties": {
                "name": {"const": self.name},
                **{form: self.value(form) for form in self.forms},
            },
            "required": ["name", *required],
            "examples": [self.shown()],
        }
        if not required:
            schema["oneOf"] = [{"required": [form]} for form in self.forms]
        return schema

    def value(self, form: str) -> Json:
        """Give the JSON Schema of its value in one of its forms."""
        if form == "part":
            return listed(self.parts) if self.parts else {"type": "array", "items": {"type": "object"}}
        if form == "resource":
            kind = {"type": "string"} if self.type is None else {"const": self.type}
            return {"type": "object", "properties": {"resourceType": kind}, "required": ["resourceType"]}
        schema = _VALUES[form]
        if not self.values or form == "valueBoolean":
            return schema
        codes = {"type": "string", "enum": list(self.values)}
        if form == "valueCoding":
            return {**schema, "properties": {**schema["properties"], "code": codes}}
        return codes


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """The Parameters resource that an operation takes.

    Parameters
    ----------
    name
        What its schema is called.
    about
        What it says.
    parameters
        What may be in it.
    usual
        The names of those that its example has.
    """

    name: str
    about: str
    parameters: tuple[Parameter, ...]
    usual: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """What its parameters are called."""
        return frozenset(each.name for each in self.parameters)

    @property
    def required(self) -> frozenset[str]:
        """What those are called that must be there."""
        return frozenset(each.name for each in self.parameters if each.least)

    def example(self) -> Json:
        """Give a request for the operation."""
        shown = [each.shown() for each in self.parameters if each.name in self.usual]
        return {"resourceType": "Parameters", "parameter": shown}

    def schema(self) -> Json:
        """Give the JSON Schema of the resource."""
        return {
            "type": "object",
            "description": self.about,
            "properties": {"resourceType": {"const": "Parameters"}, "parameter": listed(self.parameters)},
            "required": ["resourceType", "parameter"] if self.required else ["resourceType"],
        }


def listed(parameters: Iterable[Parameter]) -> Json:
    """Give the JSON Schema of a list of parameters, each as often as it may be there."""
    schema: Json = {"type": "array", "items": {"anyOf": [each.schema() for each in parameters]}}
    bounds = [_bound(each) for each in parameters if each.least or each.most is not None]
    if bounds:
        schema["allOf"] = bounds
    return schema


def _bound(parameter: Parameter) -> Json:
    named: Json = {"properties": {"name": {"const": parameter.name}}, "required": ["name"]}
    bound: Json = {"contains": named, "minContains": parameter.least}
    if parameter.most is not None:
        bound["maxContains"] = parameter.most
    return bound
