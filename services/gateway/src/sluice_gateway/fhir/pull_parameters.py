"""What `$import` is asked for: a Parameters resource, or rather what clients send as one, made an address.

The source is asked with what the client gave beside `exportUrl`, which is written into the address; what
that says already stays as it is. Everything that is wrong is told in one answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote_plus

import msgspec
from msgspec import Struct

from sluice_contracts.imports import ExportType
from sluice_contracts.wire import UNREADABLE
from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.operations import INSTANTS, TEXTS, URLS, Parameter, Taken
from sluice_gateway.fhir.outcomes import Issue, Refusal
from sluice_security.guard_urls import UrlRefusedError, parse_url

URL = "exportUrl"
TYPE = "exportType"
STRICT = "_strict"
_TYPES = tuple(ExportType)
_JOINED = "Written into the address, unless that has it."
TAKEN = Taken(
    "ImportParameters",
    "What is to be imported, and from where.",
    (
        Parameter(
            URL,
            "The address of an export on a registered source, or of its manifest.",
            URLS,
            "https://fhir.example.org/r4/$export",
            least=1,
        ),
        Parameter(
            TYPE,
            "`dynamic`, the default: the address is asked for an export. `static`: it is a manifest's, and"
            " nothing else can be asked of it.",
            ("valueCode", "valueString"),
            str(ExportType.DYNAMIC),
            values=_TYPES,
        ),
        Parameter(
            STRICT,
            "`true`: everything is stored in one step, or nothing if a file or a line cannot be had or a"
            " reference resolves nowhere.",
            ("valueBoolean", "valueString"),
            example=True,
            values=("true", "false"),
        ),
        Parameter(
            "_type",
            f"Only these resource types; repeated, or a list with commas. {_JOINED}",
            TEXTS,
            "Patient,Observation",
            most=None,
        ),
        Parameter(
            "_typeFilter",
            f"A search, `Type?name=value`; repeated for more. {_JOINED}",
            TEXTS,
            "Observation?category=laboratory",
            most=None,
        ),
        Parameter("_since", f"What changed after this instant. {_JOINED}", INSTANTS, "2026-01-31T12:00:00Z"),
        Parameter(
            "_elements",
            f"Only these root elements, `element` or `Type.element`; as `_type`. {_JOINED}",
            TEXTS,
            "id,Patient.name",
            most=None,
        ),
    ),
    usual=(URL, "_type"),
)
# R4, 2.24.0.1: an instant is to the second at least, with a zone.
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})")
_FILTER = re.compile(r"([A-Z][A-Za-z]*)\?[\x21-\x7e]+")
_ELEMENT = re.compile(r"(?:[A-Z][A-Za-z]*\.)?[a-z][A-Za-z0-9]*")
_LONGEST = 8192


class _Body(Struct):
    resource_type: str = msgspec.field(name="resourceType", default="")
    parameter: list[Any] = []


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be imported: from which address, with all parameters, what that is, and if only whole."""

    url: str
    export_type: ExportType
    strict: bool = False


@dataclass(slots=True)
class _Reading:
    given: dict[str, list[str]] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)

    def wrong(self, name: str, text: str, code: str = "value") -> None:
        self.issues.append(
            Issue(code=code, text=text, expression=(f"Parameters.parameter.where(name='{name}')",))
        )

    def members(self, name: str) -> list[str]:
        """Give the members of a parameter that may be repeated or a list, each once, in their order."""
        found = [part.strip() for text in self.given.get(name, ()) for part in text.split(",")]
        return list(dict.fromkeys(part for part in found if part))


def read_import(body: bytes) -> Wanted:
    """Read the body of `$import`.

    Raises
    ------
    Refusal
        400: with an issue for everything that is wrong.
    """
    reading = _Reading()
    for number, parameter in enumerate(parameters_of(body)):
        _take(reading, number, parameter)
    url = _url(reading)
    export_type = _export_type(reading)
    strict = _strict(reading)
    joined = _checked(reading)
    if joined and export_type is ExportType.STATIC:
        text = f"A static export is what it is: {', '.join(joined)} cannot be asked of it."
        reading.wrong(TYPE, text, "not-supported")
    if reading.issues:
        raise Refusal(400, reading.issues)
    return Wanted(within(joined_url(url, joined)), export_type, strict)


def joined_url(url: str, parameters: Mapping[str, Iterable[str]]) -> str:
    """Write parameters into an address, but those that it has already; a fragment goes."""
    url = url.partition("#")[0]
    query = url.partition("?")[2]
    there = {unquote_plus(pair.partition("=")[0]) for pair in query.split("&") if pair}
    more = [
        f"{name}={quote(value, safe=',:')}"
        for name, values in parameters.items()
        if name not in there
        for value in values
    ]
    if not more:
        return url
    mark = "" if url.endswith(("?", "&")) else "&" if "?" in url else "?"
    return url + mark + "&".join(more)


def parameters_of(body: bytes) -> list[Any]:
    """Give the parameters of a Parameters resource, whatever they are.

    Raises
    ------
    Refusal
        400: the body is none.
    """
    try:
        found = msgspec.json.decode(body, type=_Body)
    except msgspec.ValidationError:
        found = _Body()
    except UNREADABLE:
        raise Refusal(400, [Issue(code="structure", text="The body is not valid JSON in UTF-8.")]) from None
    if found.resource_type != "Parameters":
        raise Refusal(400, [Issue(code="structure", text="The body must be a Parameters resource.")])
    return found.parameter


def _take(reading: _Reading, number: int, parameter: Any) -> None:
    place = (f"Parameters.parameter[{number}]",)
    name = parameter.get("name") if isinstance(parameter, dict) else None
    if not isinstance(name, str) or not name:
        reading.issues.append(Issue(code="required", text="A parameter must have a name.", expression=place))
        return
    if name not in TAKEN.names:
        # Its name is the client's own text, which is not repeated.
        text = f"There is no such parameter; known are {', '.join(sorted(TAKEN.names))}."
        reading.issues.append(Issue(code="not-supported", text=text, expression=place))
        return
    # Whichever kind of text it comes as: the operation's examples have valueString where valueUrl is meant.
    held = [value for key, value in parameter.items() if key.startswith("value")]
    if name == STRICT and len(held) == 1 and isinstance(held[0], bool):
        held = [str(held[0]).lower()]
    if len(held) != 1 or not isinstance(held[0], str) or "\0" in held[0]:
        text = f"{name} must have one value, a text."
        reading.issues.append(Issue(code="structure", text=text, expression=place))
        return
    reading.given.setdefault(name, []).append(held[0])


def _url(reading: _Reading) -> str:
    given = reading.given.get(URL, [])
    if not given:
        reading.wrong(URL, f"{URL} is required: the address of an export.", "required")
        return ""
    if len(given) > 1:
        reading.wrong(URL, f"{URL} must be given once.", "invalid")
    try:
        parse_url(given[0])
    except UrlRefusedError as error:
        reading.wrong(URL, f"{URL} must be an absolute http or https URL: it {error}.")
    return given[0]


def _export_type(reading: _Reading) -> ExportType:
    given = set(reading.given.get(TYPE, ()))
    if given and not (len(given) == 1 and given <= {*_TYPES}):
        reading.wrong(TYPE, f"{TYPE} must be dynamic or static.")
        return ExportType.DYNAMIC
    return ExportType(given.pop()) if given else ExportType.DYNAMIC


def _strict(reading: _Reading) -> bool:
    given = set(reading.given.get(STRICT, ()))
    if given and not (len(given) == 1 and given <= {"true", "false"}):
        reading.wrong(STRICT, f"{STRICT} must be true or false.")
    return given == {"true"}


def _checked(reading: _Reading) -> dict[str, list[str]]:
    """Give what is to be written into the address, as far as it is sound."""
    types, elements = reading.members("_type"), reading.members("_elements")
    filters = list(dict.fromkeys(reading.given.get("_typeFilter", ())))
    since = list(dict.fromkeys(reading.given.get("_since", ())))
    if not RESOURCE_TYPES.issuperset(types):
        reading.wrong("_type", "_type must name resource types of R4.")
    if not all(map(_ELEMENT.fullmatch, elements)):
        reading.wrong("_elements", "_elements must be root elements, as element or Type.element.")
    if not all(_sound_filter(text) for text in filters):
        reading.wrong("_typeFilter", "_typeFilter must be a type, a question mark and a search.")
    if len(since) > 1 or not all(map(INSTANT.fullmatch, since)):
        reading.wrong("_since", "_since must be one FHIR instant, as 2026-01-31T12:00:00Z.")
    found = {
        "_type": [",".join(types)] if types else [],
        "_elements": [",".join(elements)] if elements else [],
        "_typeFilter": filters,
        "_since": since,
    }
    return {name: values for name, values in found.items() if values}


def _sound_filter(text: str) -> bool:
    match = _FILTER.fullmatch(text)
    return match is not None and match[1] in RESOURCE_TYPES


def within(url: str) -> str:
    """Give an address that is not too long to be asked.

    Raises
    ------
    Refusal
        400: it is.
    """
    if len(url) > _LONGEST:
        text = f"{URL} with all parameters must be at most {_LONGEST} characters long."
        raise Refusal(400, [Issue(code="too-long", text=text)])
    return url
