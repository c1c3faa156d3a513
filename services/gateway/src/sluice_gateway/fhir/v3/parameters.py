"""A kick-off's parameters as they were given, in the address or in a Parameters resource.

Version 3 takes both forms: in an address every value is text; in a resource each has one of FHIR's types, of
which those are taken that the operation's definition or common clients use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from sluice_contracts.exports import IgnoredParameter
from sluice_contracts.wire import UNREADABLE
from sluice_gateway.fhir.kickoff import KickOff
from sluice_gateway.fhir.outcomes import Issue, Refusal
from sluice_gateway.fhir.v3.declared import FORMS

MOST_VALUES = 1000
"""How many members the lists of a parameter may have in all: each costs time with every resource."""

# How answers are written; what they may say is looked at with the field Accept.
_ABOUT_THE_ANSWER = frozenset({"_format", "_pretty"})
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Given:
    """One value of one parameter: a text, a boolean, or a reference's text; and where it stands."""

    value: str
    place: str
    posted: bool


@dataclass(slots=True)
class Reading:
    """What was found of a kick-off so far.

    Parameters
    ----------
    lenient
        Go on without what is not supported.
    given
        Values by parameter, in their order.
    issues
        What is wrong; any is the end of the kick-off.
    ignored
        What is left out of account.
    """

    lenient: bool
    given: dict[str, list[Given]] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    ignored: list[IgnoredParameter] = field(default_factory=list)

    def wrong(self, place: str, text: str, code: str = "value") -> None:
        """Note what no handling can go on with."""
        self.issues.append(Issue(code=code, text=text, expression=(place,)))

    def unsupported(self, name: str, place: str, reason: str) -> None:
        """Note what is not supported: a lenient kick-off goes on without it."""
        if self.lenient:
            self.ignored.append(IgnoredParameter(name=name, reason=reason))
        else:
            self.wrong(place, f"{name}: {reason}", "not-supported")

    def too_many(self, name: str, count: int) -> bool:
        """Say whether a parameter has more members than may be, and note that."""
        if count > MOST_VALUES:
            text = f"{name} must have at most {MOST_VALUES} values."
            self.wrong(self.all(name)[0].place, text, "too-costly")
        return count > MOST_VALUES

    def all(self, name: str) -> list[Given]:
        """Give a parameter's values."""
        return self.given.get(name, [])

    def one(self, name: str) -> Given | None:
        """Give the value of a parameter that has no more than one; the same one again is no other."""
        values = self.all(name)
        if len({each.value for each in values}) > 1:
            self.wrong(values[1].place, f"{name} must be given once.", "invalid")
        return values[0] if values else None

    def items(self, name: str) -> list[tuple[str, str]]:
        """Give the members, each with its place, of a parameter that may be repeated or a list."""
        found: list[tuple[str, str]] = []
        values = self.all(name)
        if self.too_many(name, sum(each.value.count(",") + 1 for each in values)):
            return found
        for each in values:
            for member in each.value.split(","):
                text = member.strip()
                if text:
                    found.append((text, each.place))
                else:
                    self.wrong(each.place, f"{name} must not have an empty member.")
        return found


class _Parameters(Struct):
    resource_type: str = msgspec.field(name="resourceType", default="")
    parameter: list[dict[str, Any]] = []


_decode = msgspec.json.Decoder(_Parameters).decode


def collect(kickoff: KickOff) -> Reading:
    """Read the parameters.

    Raises
    ------
    Refusal
        400: the body is no Parameters resource.
    """
    reading = Reading(kickoff.lenient)
    for name, value in kickoff.query.items():
        if name in FORMS:
            reading.given.setdefault(name, []).append(Given(value, f"http.{name}", posted=False))
        elif name not in _ABOUT_THE_ANSWER:
            reading.unsupported(shown(name), f"http.{shown(name)}", "there is no such parameter")
    if kickoff.body:
        for number, parameter in enumerate(_parameters(kickoff.body)):
            _take(reading, parameter, f"Parameters.parameter[{number}]")
    return reading


def shown(name: str) -> str:
    """Give a parameter's name as it may be repeated to the client."""
    text = "".join(character for character in name if character.isprintable())
    return text if len(text) <= _LONGEST_NAME else text[:_LONGEST_NAME] + "…"


def _parameters(body: bytes) -> list[dict[str, Any]]:
    try:
        found = _decode(body)
    except msgspec.ValidationError:
        found = _Parameters()
    except UNREADABLE:
        raise Refusal(400, [Issue(code="structure", text="The body is not valid JSON in UTF-8.")]) from None
    if found.resource_type != "Parameters":
        raise Refusal(400, [Issue(code="structure", text="The body must be a Parameters resource.")])
    return found.parameter


def _take(reading: Reading, parameter: dict[str, Any], place: str) -> None:
    name = parameter.get("name")
    if not isinstance(name, str) or not name:
        reading.wrong(place, "A parameter must have a name.", "required")
        return
    forms = FORMS.get(name)
    if forms is None:
        reading.unsupported(shown(name), place, "there is no such parameter")
        return
    held = [key for key in parameter if key.startswith("value")]
    if len(held) != 1 or held[0] not in forms:
        reading.wrong(place, f"{name} must have one {' or '.join(forms)}.", "structure")
        return
    value = _text(parameter[held[0]], held[0])
    if value is None:
        reading.wrong(place, f"{name} must have a sound {held[0]}.", "structure")
    else:
        reading.given.setdefault(name, []).append(Given(value, place, posted=True))


def _text(value: Any, form: str) -> str | None:
    if form == "valueBoolean":
        return ("true" if value else "false") if isinstance(value, bool) else None
    if form == "valueReference":
        value = value.get("reference") if isinstance(value, dict) else None
    return value if isinstance(value, str) and "\0" not in value else None
