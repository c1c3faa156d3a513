"""Searches of the audit trail (R4, AuditEvent), read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from sluice_contracts.audit import ACTS, Coding
from sluice_fhir.search_values import Prefix, prefixed, span_of, with_plus
from sluice_gateway.fhir.audit_events import TYPE
from sluice_gateway.fhir.outcomes import Issue, Refusal, refused
from sluice_gateway.fhir.queries import CURSOR, MOST
from sluice_storage.audit.reading import Place, Wanted

_USUAL = 50
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """A search of the trail; `kept` are the parameters that were used, for links."""

    wanted: Wanted
    count: int
    before: Place | None
    kept: tuple[tuple[str, str], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters that were used."""
        return tuple(sorted({name for name, _ in self.kept}))

    def address(self, base: str, before: Place | None) -> str:
        """Give the address of a page below the FHIR API's `base`."""
        pairs = [*self.kept, *([(CURSOR, id_of(before))] if before is not None else [])]
        return f"{base}/{TYPE}" + (f"?{urlencode(pairs)}" if pairs else "")


def id_of(place: Place) -> str:
    """Give the id of the AuditEvent at a place: microseconds and a number, so that it is found by both."""
    at, number = place
    return f"{(at - _EPOCH) // timedelta(microseconds=1)}-{number}"


def place_of(id_: str) -> Place | None:
    """Give the place that an id names; None: it names none."""
    at, _, number = id_.partition("-")
    if not all(part.isascii() and part.isdecimal() and len(part) < 19 for part in (at, number)):
        return None
    try:
        place = (_EPOCH + timedelta(microseconds=int(at)), int(number))
    except OverflowError:
        return None
    return place if id_of(place) == id_ else None


def parse_audit_search(pairs: Iterable[tuple[str, str]], *, lenient: bool) -> AuditQuery:
    """Read a search; different parameters must all match, of values in one any.

    Raises
    ------
    Refusal
        400, with an issue for each parameter that cannot be used.
    """
    fields: dict[str, Any] = {}
    count, before, kept, issues = _USUAL, None, [], []
    for name, text in pairs:
        if name in ("_format", "_pretty"):
            continue
        if name == CURSOR:
            before = _cursor(text)
            continue
        try:
            if name == "_count":
                count = min(_number(text), MOST)
            else:
                _take(fields, name, text)
        except KeyError:
            if not lenient:
                issues.append(_unsupported(name))
        except ValueError:
            problem = f"The parameter {name} has a value that is not understood."
            issues.append(Issue(code="invalid", text=problem))
        else:
            kept.append((name, text))
    if issues:
        raise Refusal(400, issues)
    return AuditQuery(Wanted(**fields), count, before, tuple(kept))


def _cursor(text: str) -> Place:
    place = place_of(text)
    if place is None:
        raise refused(400, "value", f"The parameter {CURSOR} is none that a link of this server has.")
    return place


def _unsupported(name: str) -> Issue:
    shown = name if name.isascii() and name.isidentifier() else "with an odd name"
    return Issue(code="not-supported", text=f"The parameter {shown} is not supported for the audit trail.")


def _take(fields: dict[str, Any], name: str, text: str) -> None:
    """Add what a parameter asks for; a KeyError: there is no such, a ValueError: it cannot be read."""
    if name == "date":
        _narrow(fields, text)
    else:
        _add(fields, *_READERS[name](text))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise ValueError
    return int(text)


def _add(fields: dict[str, Any], field: str, values: set[Any]) -> None:
    known = fields.get(field)
    # A parameter that is given twice must match twice.
    fields[field] = tuple(sorted(values if known is None else values & set(known), key=str))


def _narrow(fields: dict[str, Any], text: str) -> None:
    prefix, rest = prefixed(text)
    span = span_of(with_plus(rest))
    if span is None or span.low is None or span.high is None:
        raise ValueError
    low, high = {
        Prefix.EQ: (span.low, span.high),
        Prefix.GE: (span.low, None),
        Prefix.GT: (span.high, None),
        Prefix.SA: (span.high, None),
        Prefix.LT: (None, span.low),
        Prefix.EB: (None, span.low),
        Prefix.LE: (None, span.high),
    }.get(prefix, (None, None))
    if low is None and high is None:
        raise ValueError
    if low is not None:
        fields["since"] = max(low, fields.get("since", low))
    if high is not None:
        fields["before"] = min(high, fields.get("before", high))


def _matches(coding: Coding | None, act: str, wanted: str) -> bool:
    """Say whether a code, or system|code, is an act's coding; an act's own name is a subtype too."""
    system, bar, code = wanted.rpartition("|")
    if coding is not None and coding[1] == code and (not bar or coding[0] == system):
        return True
    return code == act and (not bar or system.endswith("/CodeSystem/audit-act"))


def _types(text: str) -> tuple[str, set[str]]:
    wanted = text.split(",")
    return "acts", {
        name for name, act in ACTS.items() if any(_matches(act.type, "", each) for each in wanted)
    }


def _subtypes(text: str) -> tuple[str, set[str]]:
    wanted = text.split(",")
    found = {name for name, act in ACTS.items() if any(_matches(act.subtype, name, each) for each in wanted)}
    return "acts", found


def _actions(text: str) -> tuple[str, set[str]]:
    wanted = {each.rpartition("|")[2] for each in text.split(",")}
    return "acts", {name for name, act in ACTS.items() if act.action in wanted}


def _outcomes(text: str) -> tuple[str, set[int]]:
    wanted = {int(each.rpartition("|")[2]) for each in text.split(",")}
    if not wanted <= {0, 4, 8, 12}:
        raise ValueError
    return "outcomes", wanted


def _texts(field: str) -> Callable[[str], tuple[str, set[str]]]:
    def read(text: str) -> tuple[str, set[str]]:
        return field, {each.rpartition("|")[2] for each in text.split(",") if each}

    return read


def _patients(text: str) -> tuple[str, set[str]]:
    return "patients", {each.removeprefix("Patient/") for each in text.split(",")}


def _entities(text: str) -> tuple[str, set[tuple[str | None, str]]]:
    found: set[tuple[str | None, str]] = set()
    for each in text.split(","):
        kind, slash, id_ = each.partition("/")
        # A job's file is named by the job's id and its own name.
        typed = bool(slash) and kind[:1].isupper()
        found.add((kind, id_) if typed else (None, each))
    return "entities", found


_READERS: dict[str, Callable[[str], tuple[str, set[Any]]]] = {
    "type": _types,
    "subtype": _subtypes,
    "action": _actions,
    "outcome": _outcomes,
    "agent": _texts("agents"),
    "agent:identifier": _texts("agents"),
    "address": _texts("addresses"),
    "entity": _entities,
    "entity:identifier": _entities,
    "patient": _patients,
}
