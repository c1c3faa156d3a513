"""From an authored scrape schema to a plan, or to everything that is wrong with it."""

from __future__ import annotations

import re
import unicodedata

from sluice_fhir import fhirpath_model
from sluice_fhir.fhirpath import CompiledPath, FHIRPathError, compile_path
from sluice_fhir.scrape_plan import DOCUMENT_TYPE, Lead, Node, Plan, Recipe, Rule, TypeReader
from sluice_fhir.scrape_resolve import expand
from sluice_fhir.scrape_schema import DOCUMENT, Follow, Problem, SchemaError, ScrapeSchema, Value, pointer
from sluice_fhir.scrape_values import MAX_KEY_BYTES, coercion, is_of_type

MAX_LEVELS = 6
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def compile_schema(schema: ScrapeSchema, file: str) -> Plan:
    """Compile a schema; `file` is what errors call it.

    Raises
    ------
    SchemaError
        Something in it cannot be used; all such things are listed.
    """
    expanded, problems = expand(schema)
    compiler = _Compiler(expanded)
    compiler.problems += problems
    plan = compiler.plan(schema)
    if compiler.problems:
        raise SchemaError(file, list(dict.fromkeys(compiler.problems)))
    return plan


class _Compiler:
    def __init__(self, schema: ScrapeSchema) -> None:
        self.schema = schema
        self.problems: list[Problem] = []
        self.nodes: dict[str, Node] = {DOCUMENT: Node(0, DOCUMENT, frozenset({DOCUMENT_TYPE}), 1)}
        self.document = TypeReader(DOCUMENT_TYPE)
        self.readers: dict[str, TypeReader] = {}
        self.slots = 0

    def wrong(self, text: str, *where: str | int) -> None:
        self.problems.append(Problem(pointer(*where), text))

    def plan(self, authored: ScrapeSchema) -> Plan:
        for name in self.ordered():
            self.node(name, self.schema.follow[name])
        self.check_keys()
        recipes = tuple(self.recipe(index, value) for index, value in enumerate(self.schema.values))
        nodes = tuple(self.nodes.values())
        levels = tuple(
            tuple(node for node in nodes if node.level == level)
            for level in range(1, 1 + max(node.level for node in nodes))
        )
        if len(levels) > MAX_LEVELS:
            self.wrong(
                f"what it follows hangs together in more than {MAX_LEVELS} levels; shorten it", "follow"
            )
        return Plan(authored, nodes, levels, recipes, self.document, self.readers)

    def ordered(self) -> list[str]:
        """Give the follows' names so that each comes after those it depends on, reporting what cannot."""
        follow, done, order = self.schema.follow, {DOCUMENT}, []
        for name, hop in follow.items():
            for needed in self.needs(hop):
                if needed not in follow and needed != DOCUMENT:
                    known = ", ".join([DOCUMENT, *sorted(name for name in follow if ":" not in name)])
                    self.wrong(f"there is no follow named {needed!r}; there are: {known}", "follow", name)
                    done.add(needed)
        waiting = dict(follow)
        while ready := [name for name, hop in waiting.items() if self.needs(hop) <= done]:
            for name in ready:
                order.append(name)
                done.add(name)
                del waiting[name]
        for name in waiting:
            self.wrong(
                "it depends on itself by way of from, search or unless; break the circle", "follow", name
            )
        return order

    @staticmethod
    def needs(hop: Follow) -> set[str]:
        found = {match[1].removesuffix(".id") for match in _PLACEHOLDER.finditer(hop.search or "")}
        return (
            found | ({hop.from_} if hop.search is None else set()) | ({hop.unless} if hop.unless else set())
        )

    def node(self, name: str, hop: Follow) -> None:
        for kind in hop.types:
            if kind not in fhirpath_model.RESOURCE_TYPES:
                self.wrong(f"{kind} is no resource type of FHIR R4", "follow", name, "type")
        if any(needed not in self.nodes for needed in self.needs(hop)):
            return
        level = 0 if hop.search else 1 + self.nodes[hop.from_].level
        if hop.search is not None:
            level = max([1, *(self.nodes[needed].level for needed in self.needs(hop) - {hop.unless})])
            if any(self.nodes[needed].search for needed in self.needs(hop) - {hop.unless}):
                level += 1  # what a search finds is known by name only once it is read
        if hop.unless:
            level = max(level, 1 + self.nodes[hop.unless].level)
        node = Node(
            number=len(self.nodes),
            name=name,
            types=frozenset(hop.types),
            limit=hop.limit,
            parent=None if hop.search else self.nodes[hop.from_].number,
            search=self.search(name, hop) if hop.search else (),
            unless=self.nodes[hop.unless].number if hop.unless else None,
            level=level,
        )
        self.nodes[name] = node
        for kind in hop.types:
            self.readers.setdefault(kind, TypeReader(kind))
        if hop.reference is not None:
            parent = self.nodes[hop.from_]
            for reader, path in self.compiled(hop.reference, parent, ("follow", name, "reference")):
                reader.leads.append(Lead(node.number, parent.number, path))

    def search(self, name: str, hop: Follow) -> tuple[str | tuple[int, bool], ...]:
        text = hop.search or ""
        if text.partition("?")[0] not in hop.types:
            self.wrong(
                f"the search is for another type than {', '.join(hop.types)}", "follow", name, "search"
            )
        parts: list[str | tuple[int, bool]] = []
        for index, part in enumerate(_PLACEHOLDER.split(text)):
            if index % 2:
                parts.append((self.nodes[part.removesuffix(".id")].number, part.endswith(".id")))
            else:
                parts.append(part)
        if "_count=" not in text:
            parts.append(f"&_count={hop.limit}")
        return tuple(parts)

    def compiled(
        self, expression: str, node: Node, where: tuple[str | int, ...]
    ) -> list[tuple[TypeReader, CompiledPath]]:
        """Compile an expression for each type that `node` may be and that has what it names."""
        found: list[tuple[TypeReader, CompiledPath]] = []
        unknown: set[str] = set()
        for kind in sorted(node.types & fhirpath_model.RESOURCE_TYPES):
            try:
                path = compile_path(expression, kind)
            except FHIRPathError as error:
                self.wrong(f"{error}; correct the FHIRPath expression {expression!r}", *where)
                return []
            unknown.update(path.unknown)
            if not path.unknown:
                found.append((self.document if node.number == 0 else self.readers[kind], path))
        if unknown and not found:
            self.wrong(f"FHIR R4 has no {', no '.join(sorted(unknown))}; correct the name", *where)
        return found

    def check_keys(self) -> None:
        seen: dict[str, int] = {}
        for index, value in enumerate(self.schema.values):
            key = value.key
            if unicodedata.normalize("NFC", key) != key or key != key.strip():
                self.wrong(
                    "the key is not in normal form NFC or has blanks at an end", "values", index, "key"
                )
            if len(key.encode()) > MAX_KEY_BYTES:
                self.wrong(f"the key is longer than {MAX_KEY_BYTES} bytes in UTF-8", "values", index, "key")
            first = seen.setdefault(key.casefold(), index)
            if first != index:
                text = f"the key {key!r} is already given by /values/{first}; use first_of for alternatives"
                self.wrong(text, "values", index, "key")

    def recipe(self, index: int, value: Value) -> Recipe:
        sources = []
        coerce = coercion(value)
        for place in value.places:
            where = ("values", index)
            node = self.nodes.get(place.from_)
            if node is None:
                if place.from_ not in self.schema.follow:
                    known = ", ".join(name for name in self.nodes if ":" not in name)
                    self.wrong(f"there is no follow named {place.from_!r}; there are: {known}", *where)
                continue
            slot, self.slots = self.slots, self.slots + 1
            for reader, path in self.compiled(place.path, node, where):
                reader.rules.append(Rule(node.number, slot, path, coerce))
            sources.append((node.number, slot))
        self.check_constants(index, value)
        kind = value.type if value.type == "age" else "list" if value.type == "array" else "one"
        return Recipe(value.key, kind, tuple(sources), value.required, value.default, value.unit)

    def check_constants(self, index: int, value: Value) -> None:
        constants = [("map", code, made) for code, made in (value.map or {}).items()]
        constants += [
            (name, "", made)
            for name, made in (("map_default", value.map_default), ("default", value.default))
            if made is not None
        ]
        for name, code, made in constants:
            if not is_of_type(made, value.type):
                where = (name, code) if code else (name,)
                self.wrong(f"{made!r} is no {value.type} that metadata may hold", "values", index, *where)
