"""Scrape schemas, compiled: everything that can be worked out before the first document is.

A plan numbers the schema's nodes (0 is the document, then every follow, each after what it depends on) and
its slots (one for each place a value may come from). For every type of resource it has a reader, which makes
of one such resource what all nodes together want from it: the values of their slots, and where their follows
lead. What a reader made is small and is what the caches keep; the resource itself is let go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import msgspec

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.fhirpath import CompiledPath, Resource
from sluice_fhir.scrape_schema import Scalar, ScrapeSchema
from sluice_fhir.scrape_values import Coerce

Evaluate = Callable[[Resource], list[Any]]
DOCUMENT_TYPE = "DocumentReference"
# References that one expression yields in one resource; no more are looked at.
MAX_REFERENCES = 1000


@dataclass(frozen=True, slots=True)
class Node:
    """The document (number 0) or a follow.

    Parameters
    ----------
    parent
        The node whose references it follows; None for the document and for searches.
    search
        The parts of a search: texts, and pairs of a node and whether only the id is wanted, in between.
    unless
        The node that, if it found something, makes this one unnecessary.
    level
        Nodes of one level can be read at the same time, once all lower levels are.
    """

    number: int
    name: str
    types: frozenset[str]
    limit: int
    parent: int | None = None
    search: tuple[str | tuple[int, bool], ...] = ()
    unless: int | None = None
    level: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """How one slot is filled from one type of resource."""

    node: int
    slot: int
    path: CompiledPath
    coerce: Coerce


@dataclass(frozen=True, slots=True)
class Lead:
    """How the references of follow `node` are found on one type of resource that `parent` may be."""

    node: int
    parent: int
    path: CompiledPath


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one key gets its value: from the first of `sources` (node and slot) that has any.

    `kind` is `one`, `list` or `age`; an age takes both its sources, and `unit` says in what.
    """

    key: str
    kind: str
    sources: tuple[tuple[int, int], ...]
    required: bool
    default: Scalar | None
    unit: str


@dataclass(slots=True)
class Extract:
    """What the nodes want from one resource.

    Parameters
    ----------
    reference
        The resource as a relative reference; empty if it has no id.
    type
        Its resource type.
    values
        By slot.
    leads
        By follow: references as they are written, and what was extracted of contained resources.
    """

    reference: str
    type: str
    values: dict[int, tuple[Scalar, ...]]
    leads: dict[int, list[str | Extract]]

    def size(self) -> int:
        """Estimate the bytes it takes in memory."""
        total = 400 + 100 * (len(self.values) + len(self.leads))
        for made in self.values.values():
            total += sum(60 + 4 * len(value) if isinstance(value, str) else 32 for value in made)
        for leads in self.leads.values():
            total += sum(60 + len(lead) if isinstance(lead, str) else lead.size() for lead in leads)
        return total


@dataclass(slots=True)
class TypeReader:
    """Reads one type of resource for all nodes that accept it."""

    type: str
    rules: list[Rule] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)
    _decoder: msgspec.json.Decoder[Resource] | None = None

    def decode(self, body: bytes | msgspec.Raw) -> Resource | None:
        """Decode as much of a resource as the rules look at; None if it is not such a resource.

        A document's inline content is passed over without being built unless an expression reads it.
        """
        if self._decoder is None:
            self._decoder = msgspec.json.Decoder(self._shape())
        try:
            resource: Any = self._decoder.decode(body)
        except msgspec.ValidationError:
            resource = _decode_anything(body)
        except UNREADABLE:
            return None
        return resource if type(resource) is dict and resource.get("resourceType") == self.type else None

    def _shape(self) -> Any:
        paths = [rule.path for rule in self.rules] + [lead.path for lead in self.leads]
        names = {"resourceType", "id"} | ({"contained"} if self.leads else set())
        for path in paths:
            if path.roots is None:
                return dict[str, Any]
            names |= path.roots
        fields: dict[str, Any] = dict.fromkeys(sorted(names), Any)
        if (
            self.type == DOCUMENT_TYPE
            and "content" in fields
            and not any(_reads_data(path) for path in paths)
        ):
            fields["content"] = list[_Content]
        return TypedDict(f"{self.type}Shape", fields, total=False)  # type: ignore[operator]


def _reads_data(path: CompiledPath) -> bool:
    # Errs on the side of yes: then the data are built and nothing is lost but time.
    text = path.expression.casefold()
    return "content" in text and ("data" in text or "extension" in text)


def _decode_anything(body: bytes | msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(body)
    except UNREADABLE:
        return None


class _Attachment(TypedDict, total=False):
    # All of R4's Attachment but `data`, which may be megabytes, and extensions; `_x` carries x's extensions.
    id: Any
    contentType: Any
    language: Any
    url: Any
    size: Any
    hash: Any
    title: Any
    creation: Any
    _contentType: Any
    _language: Any
    _url: Any
    _size: Any
    _hash: Any
    _title: Any
    _creation: Any


class _Content(TypedDict, total=False):
    id: Any
    attachment: _Attachment
    format: Any


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled schema.

    Parameters
    ----------
    levels
        The follows, by level.
    document
        The reader of the document itself.
    readers
        The readers of what is followed, by type.
    """

    schema: ScrapeSchema
    nodes: tuple[Node, ...]
    levels: tuple[tuple[Node, ...], ...]
    recipes: tuple[Recipe, ...]
    document: TypeReader
    readers: dict[str, TypeReader]

    def extract(self, reader: TypeReader, resource: Resource, only: int | None = None) -> Extract:
        """Make what the nodes want (`only`: just that node) of a resource that `reader` decoded."""
        values: dict[int, tuple[Scalar, ...]] = {}
        for rule in reader.rules:
            if only is None or rule.node == only:
                made = rule.coerce(rule.path.evaluate(resource))
                if made:
                    values[rule.slot] = made
        leads: dict[int, list[str | Extract]] = {}
        for lead in reader.leads:
            if only is None or lead.parent == only:
                found = self._leads(lead, resource)
                if found:
                    leads[lead.node] = found
        name = resource.get("id")
        reference = f"{reader.type}/{name}" if type(name) is str else ""
        return Extract(reference, reader.type, values, leads)

    def _leads(self, lead: Lead, resource: Resource) -> list[str | Extract]:
        found: list[str | Extract] = []
        for target in lead.path.evaluate(resource)[:MAX_REFERENCES]:
            text = target.get("reference") if type(target) is dict else target
            if type(text) is not str:
                continue
            if not text.startswith("#"):
                found.append(text)
            elif (contained := self._contained(lead.node, text[1:], resource)) is not None:
                found.append(contained)
        return found

    def _contained(self, node: int, name: str, container: Resource) -> Extract | None:
        """Extract a contained resource (R4 section 2.37.3.3); its own references start at its container."""
        inside = container.get("contained")
        for resource in inside if type(inside) is list else ():
            if type(resource) is dict and resource.get("id") == name:
                reader = self.readers.get(str(resource.get("resourceType")))
                if reader is None or reader.type not in self.nodes[node].types:
                    return None
                # The follows form no circle, so however its references do, this comes to an end.
                extract = self.extract(reader, {**resource, "contained": inside}, only=node)
                extract.reference = ""  # it has no address of its own
                return extract
        return None
