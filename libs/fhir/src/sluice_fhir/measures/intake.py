"""Transaction and batch Bundles: what each entry asks for, or what is wrong with it (R4, http, 3.1.0.11).

Entries may store resources (PUT, POST) and delete them. What needs a look at the store before it is known
what to do (conditional create, update and delete, `ifMatch`, PATCH, reads) is refused, as R4 lets a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.json_depth import is_deeper
from sluice_fhir.measures.datatypes import DEEPEST, Fhir, Named
from sluice_fhir.measures.entries import (
    Action,
    BundleType,
    Entry,
    Intake,
    finding,
    named_resource,
    new_id,
    put_or_create,
    stored,
)
from sluice_fhir.measures.links import Links
from sluice_fhir.measures.problems import Finding, MeasureError, MeasureProblem
from sluice_fhir.references import InvalidReferenceError, parse_reference

MOST_ENTRIES = 10_000
ARTIFACTS = frozenset({"Measure", "Library", "ValueSet", "CodeSystem"})
"""What a measure consists of, of all that published bundles hold."""

_Given = TypeVar("_Given")
_ORDER = (Action.DELETE, Action.CREATE, Action.PUT)
_METHODS = {"PUT": Action.PUT, "POST": Action.CREATE, "DELETE": Action.DELETE}


class _Request(Fhir, frozen=True):
    method: str = ""
    url: str = ""
    if_match: str | None = None
    if_none_exist: str | None = None
    if_none_match: str | None = None
    if_modified_since: str | None = None

    @property
    def conditional(self) -> bool:
        conditions = (self.if_match, self.if_none_exist, self.if_none_match, self.if_modified_since)
        return any(each is not None for each in conditions) or "?" in self.url


class _Entry(Fhir, frozen=True):
    full_url: str | None = None
    resource: Raw | UnsetType = UNSET
    request: _Request | None = None


class _Bundle(Named, frozen=True):
    type: str | None = None
    entry: tuple[_Entry, ...] = ()


def parse_bundle(
    body: bytes, *, make_id: Callable[[], str] = new_id, most_entries: int = MOST_ENTRIES
) -> Intake:
    """Read a transaction or batch Bundle.

    Parameters
    ----------
    make_id
        Gives the ids of resources that are created.

    Raises
    ------
    MeasureError
        It is no such Bundle; or it is a transaction, and something is wrong with some of its entries: a
        finding for each.
    """
    bundle = _decoded(body)
    if bundle.type not in ("transaction", "batch"):
        raise MeasureError(MeasureProblem.WRONG_BUNDLE_TYPE, where="Bundle.type")
    if len(bundle.entry) > most_entries:
        raise MeasureError(MeasureProblem.TOO_MANY_ENTRIES, f"at most {most_entries}", "Bundle.entry")
    entries, refused = _gathered(bundle.entry, lambda each, place: _entry(each, place, make_id))
    whole = bundle.type == "transaction"
    if whole:
        refused |= _duplicates(entries)
    entries, unresolved = _linked(entries, bundle.entry, whole=whole)
    refused |= unresolved
    if whole and refused:
        raise MeasureError.of(refused[place] for place in sorted(refused))
    kind: BundleType = "transaction" if whole else "batch"
    if whole:
        # R4: deletions come first, then creations, then updates.
        entries = sorted(entries, key=lambda each: _ORDER.index(each.action))
    return Intake(kind, len(bundle.entry), tuple(entries), dict(sorted(refused.items())))


def parse_resources(resources: Iterable[bytes], *, make_id: Callable[[], str] = new_id) -> Intake:
    """Make a transaction that stores these resources, each under its id if it has one.

    Raises
    ------
    MeasureError
        BAD_RESOURCE or DUPLICATE_ENTRY, a finding for each.
    """
    entries, findings = _gathered(resources, lambda each, place: put_or_create(each, place, make_id))
    findings |= _duplicates(entries)
    if findings:
        raise MeasureError.of(findings[place] for place in sorted(findings))
    return Intake("transaction", len(entries), tuple(entries))


def _decoded(body: bytes) -> _Bundle:
    if is_deeper(body, DEEPEST):
        raise MeasureError(MeasureProblem.TOO_DEEP)
    try:
        named = msgspec.json.decode(body, type=Named)
        body.decode()
        if named.resource_type == "Bundle":
            return msgspec.json.decode(body, type=_Bundle)
    except msgspec.ValidationError as error:
        raise MeasureError(MeasureProblem.NOT_A_BUNDLE) from error
    except UNREADABLE as error:
        raise MeasureError(MeasureProblem.NOT_JSON) from error
    raise MeasureError(MeasureProblem.NOT_A_BUNDLE)


def _gathered(
    given: Iterable[_Given], make: Callable[[_Given, int], Entry]
) -> tuple[list[Entry], dict[int, Finding]]:
    """Make entries, and gather what is wrong with those that cannot be made, by place."""
    entries: list[Entry] = []
    refused: dict[int, Finding] = {}
    for place, each in enumerate(given):
        try:
            entries.append(make(each, place))
        except MeasureError as error:
            refused[place] = error.findings[0]
    return entries, refused


def _entry(given: _Entry, place: int, make_id: Callable[[], str]) -> Entry:
    request = given.request
    if request is None:
        raise MeasureError.of([finding(MeasureProblem.BAD_ENTRY, place, ".request")])
    action = _METHODS.get(request.method)
    if action is None or request.conditional:
        known = request.method in ("GET", "HEAD", "PATCH") or action is not None
        problem = MeasureProblem.NOT_SUPPORTED if known else MeasureProblem.BAD_ENTRY
        raise MeasureError.of([finding(problem, place, ".request")])
    if action is Action.CREATE:
        return _created(given, request.url, place, make_id)
    try:
        target = parse_reference(request.url.removeprefix("/"))
    except InvalidReferenceError as error:
        raise MeasureError.of([finding(MeasureProblem.BAD_ENTRY, place, ".request.url")]) from error
    if target.base is not None or target.version is not None:
        raise MeasureError.of([finding(MeasureProblem.BAD_ENTRY, place, ".request.url")])
    if action is Action.DELETE:
        return Entry(place, action, target.type, target.id)
    named = named_resource(given.resource or b"null", place)
    if named.resource_type != target.type or named.id not in (None, target.id):
        raise MeasureError.of([finding(MeasureProblem.ID_MISMATCH, place, ".resource.id")])
    return stored(place, action, target.type, target.id, given.resource or b"")


def _created(given: _Entry, url: str, place: int, make_id: Callable[[], str]) -> Entry:
    named = named_resource(given.resource or b"null", place)
    if named.resource_type != url.strip("/"):
        raise MeasureError.of([finding(MeasureProblem.ID_MISMATCH, place, ".request.url")])
    return stored(place, Action.CREATE, named.resource_type, make_id(), given.resource or b"")


def _duplicates(entries: Iterable[Entry]) -> dict[int, Finding]:
    """Find entries about a resource that an earlier one is about: R4 has the transaction fail."""
    seen: set[str] = set()
    found: dict[int, Finding] = {}
    for each in entries:
        if each.key in seen:
            found[each.place] = finding(MeasureProblem.DUPLICATE_ENTRY, each.place)
        seen.add(each.key)
    return found


def _linked(
    entries: list[Entry], given: tuple[_Entry, ...], *, whole: bool
) -> tuple[list[Entry], dict[int, Finding]]:
    """Resolve references; the entries of a batch cannot refer to each other, so there nothing resolves."""
    links = Links(_addresses(entries, given) if whole else {}, entries if whole else ())
    linked: list[Entry] = []
    refused: dict[int, Finding] = {}
    for each in entries:
        body, problem = links.resolve(each.body) if each.body else (b"", None)
        if problem is not None:
            refused[each.place] = finding(problem, each.place, ".resource")
        else:
            linked.append(Entry(each.place, each.action, each.type, each.id, body))
    return linked, refused


def _addresses(entries: Iterable[Entry], given: tuple[_Entry, ...]) -> dict[str, str]:
    addresses: dict[str, str] = {}
    kept = {each.key for each in entries if each.action is Action.PUT}
    for each in entries:
        entry = given[each.place]
        if each.action is Action.CREATE and entry.resource:
            # The id that a created resource comes with is not kept, but others refer to it.
            old = named_resource(entry.resource, each.place).id
            if old is not None and f"{each.type}/{old}" not in kept:
                addresses[f"{each.type}/{old}"] = each.key
        if entry.full_url:
            addresses[entry.full_url] = each.key
    return addresses
