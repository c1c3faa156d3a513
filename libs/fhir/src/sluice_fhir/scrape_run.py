"""One document's way through a plan: what is followed, what is read for it, what values come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.scrape_addresses import Address, follow_address, search_address
from sluice_fhir.scrape_cache import SharedReads
from sluice_fhir.scrape_plan import Extract, Node, Plan, Recipe
from sluice_fhir.scrape_schema import Scalar
from sluice_fhir.scrape_values import age, distinct
from sluice_security.failure import SourceFailure

MAX_READS = 40
MAX_ENTRIES = 100

MetadataValue = str | int | float | bool | None | list[str]


class Reader(Protocol):
    """Reads from one source."""

    async def read(self, url: str, expected: str) -> bytes:
        """Give the body of the resource of type `expected` at `url`, which is below the source's base URL.

        Raises
        ------
        SourceFailure
            It could not be read.
        """


@dataclass(frozen=True, slots=True)
class Unread:
    """A resource that could not be read, and why (an item error code, the source's status)."""

    code: str
    status: int | None = None


Found = tuple[Extract, ...] | Unread


@dataclass(frozen=True, slots=True)
class Request:
    """One reading, for a dry run: `url` as it was asked for, `outcome` is `read` or an error code."""

    follow: str
    url: str
    outcome: str
    resources: int


@dataclass(slots=True)
class Scraped:
    """What a document yielded.

    Parameters
    ----------
    metadata
        The values, in the schema's order.
    missing
        The required keys that have no value.
    schema
        The schema's name and version.
    dropped
        Keys beyond the limit of metadata's size.
    requests
        What was read or looked up, if a trace was asked for.
    """

    metadata: dict[str, MetadataValue]
    missing: tuple[str, ...]
    schema: str
    dropped: tuple[str, ...] = ()
    requests: list[Request] = field(default_factory=list)


class _Entry(msgspec.Struct):
    resource: msgspec.Raw = msgspec.Raw(b"")


class _Bundle(msgspec.Struct):
    resourceType: str  # noqa: N815 - FHIR's name
    entry: list[_Entry] = []


class _Typed(msgspec.Struct):
    resourceType: str  # noqa: N815 - FHIR's name


class Run:
    """One document's way through the plan."""

    def __init__(
        self,
        shared: SharedReads[Found],
        plan: Plan,
        reader: Reader,
        base: str,
        scope: Hashable,
        settle: bool,
        trace: bool,
    ) -> None:
        self.shared = shared
        self.plan = plan
        self.reader = reader
        self.base = base
        self.scope = (scope, plan.schema.ident)
        self.settle = settle
        self.requests: list[Request] | None = [] if trace else None
        self.found: list[list[Extract]] = [[] for _ in plan.nodes]
        self.references: list[str] = ["" for _ in plan.nodes]
        self.reads = 0

    async def follow(self, document: Extract) -> None:
        """Read what the plan follows from `document`, level by level.

        Raises
        ------
        SourceFailure
            Something could not be read, but may be later.
        """
        self.found[0].append(document)
        self.references[0] = document.reference
        for level in self.plan.levels:
            wanted: list[tuple[Node, Address]] = []
            for node in level:
                if node.unless is None or not self.found[node.unless]:
                    wanted += [(node, address) for address in self._addresses(node)]
            if wanted:
                await self._read(wanted)

    def _addresses(self, node: Node) -> list[Address]:
        """Give where the resources of a node are to be read; contained ones are there already."""
        if node.parent is None:
            address = search_address(node, self.references, self.base)
            return [address] if address is not None else []
        addresses: list[Address] = []
        for extract in self.found[node.parent]:
            for lead in extract.leads.get(node.number, ()):
                if len(addresses) + len(self.found[node.number]) == node.limit:
                    return addresses
                if isinstance(lead, Extract):
                    self.found[node.number].append(lead)
                elif (address := follow_address(node, lead, self.base)) is not None:
                    if address not in addresses:
                        addresses.append(address)
                    self.references[node.number] = self.references[node.number] or address.reference
                elif self.requests is not None:
                    self.requests.append(Request(node.name, lead, "not_on_this_source", 0))
        return addresses

    async def _read(self, wanted: list[tuple[Node, Address]]) -> None:
        """Read what is wanted, what is not shared yet at the same time, and hand it to the nodes in order."""
        wanted = wanted[: MAX_READS - self.reads]
        self.reads += len(wanted)
        urls = {address.url: address for _, address in wanted}
        known = {url: self.shared.peek((self.scope, url)) for url in urls}
        absent = [url for url, found in known.items() if found is None]
        if len(absent) == 1:
            known[absent[0]] = await self._one(urls[absent[0]])
        elif absent:
            results = await asyncio.gather(*(self._one(urls[url]) for url in absent), return_exceptions=True)
            for url, result in zip(absent, results, strict=True):
                if isinstance(result, BaseException):
                    raise result
                known[url] = result
        for node, address in wanted:
            self._take(node, address, known[address.url])

    async def _one(self, address: Address) -> Found:
        try:
            return await self.shared.get((self.scope, address.url), lambda: self._load(address))
        except SourceFailure as failure:
            if not self.settle:
                raise
            return Unread(failure.code, failure.status)

    async def _load(self, address: Address) -> tuple[Found, int]:
        """Read and extract; what will not change by asking again is a result too.

        Raises
        ------
        SourceFailure
            Asking again may help.
        """
        try:
            body = await self.reader.read(address.url, address.expected)
        except SourceFailure as failure:
            if failure.retry:
                raise
            return Unread(failure.code, failure.status), 200
        bodies: list[Any] = [body] if address.expected != "Bundle" else _entries(body)
        extracts = tuple(extract for one in bodies if (extract := self._extract(one)) is not None)
        return extracts, 200 + sum(extract.size() for extract in extracts)

    def _extract(self, body: bytes | msgspec.Raw) -> Extract | None:
        try:
            kind = msgspec.json.decode(body, type=_Typed).resourceType
        except UNREADABLE:
            return None
        reader = self.plan.readers.get(kind)
        resource = reader.decode(body) if reader is not None else None
        return self.plan.extract(reader, resource) if reader is not None and resource is not None else None

    def _take(self, node: Node, address: Address, found: Found | None) -> None:
        extracts: tuple[Extract, ...] = found if isinstance(found, tuple) else ()
        fitting = [extract for extract in extracts if extract.type in node.types]
        if address.sole and len(extracts) != 1:
            fitting = []
        room = node.limit - len(self.found[node.number])
        self.found[node.number] += fitting[:room]
        if not self.references[node.number] and fitting:
            self.references[node.number] = fitting[0].reference
        if self.requests is not None:
            outcome = found.code if isinstance(found, Unread) else "read"
            self.requests.append(Request(node.name, address.url, outcome, len(fitting)))

    def result(self) -> Scraped:
        """Make the values of what was found."""
        metadata: dict[str, MetadataValue] = {}
        missing: list[str] = []
        for recipe in self.plan.recipes:
            value = self._value(recipe)
            if value is not None:
                metadata[recipe.key] = value
            elif recipe.required:
                missing.append(recipe.key)
        return Scraped(metadata, tuple(missing), self.plan.schema.ident, requests=self.requests or [])

    def _value(self, recipe: Recipe) -> MetadataValue:
        if recipe.kind == "age":
            born, at = (next(iter(self._values(*source)), None) for source in recipe.sources)
            made = age(str(born), str(at), recipe.unit) if born is not None and at is not None else None
            return recipe.default if made is None else made
        for node, slot in recipe.sources:
            if self.found[node] and (values := self._values(node, slot)):
                return values[0] if recipe.kind == "one" else [str(item) for item in distinct(values)]
        return recipe.default

    def _values(self, node: int, slot: int) -> Sequence[Scalar]:
        extracts = self.found[node]
        if len(extracts) == 1:
            return extracts[0].values.get(slot, ())
        return [value for extract in extracts for value in extract.values.get(slot, ())]


def _entries(body: bytes) -> list[msgspec.Raw]:
    try:
        bundle = msgspec.json.decode(body, type=_Bundle)
    except UNREADABLE:
        return []
    return [entry.resource for entry in bundle.entry[:MAX_ENTRIES]]
