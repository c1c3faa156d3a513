"""The walk over ELM that gathers what a measure's logic retrieves.

It begins at every statement of the measure's own libraries (but for `Patient`, which the translator adds) and
follows references to expressions and functions, in other libraries too. It never runs anything: a Retrieve
behind an `if` counts, so that what is found is enough for whatever the data are.
"""

from __future__ import annotations

from collections.abc import Iterable

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.measures.codes import CodeReader, home, undefined
from sluice_fhir.measures.datatypes import CodeFilter, DataRequirement, DateFilter, Period
from sluice_fhir.measures.dates import period_of
from sluice_fhir.measures.elm import Link, Node
from sluice_fhir.measures.libraries import Loaded
from sluice_fhir.measures.problems import MeasureError, MeasureProblem

# Of these the translator makes statements (`context Patient`), or takes them for granted.
_CONTEXTS = frozenset({"Patient", "Practitioner", "Unfiltered", "Population"})
_NO_LOGIC = frozenset({"annotation", "resultTypeSpecifier", "signature", "localId", "locator"})
_MODEL = "http://hl7.org/fhir"
_MOST_COMBINATIONS = 100


def retrieved(mains: Iterable[Loaded], period: Period | None = None) -> list[DataRequirement]:
    """Give what libraries retrieve, each requirement once, in the order of types, paths and codes.

    Parameters
    ----------
    mains
        The libraries that a Measure names.
    period
        The value of the parameter `Measurement Period`.

    Raises
    ------
    MeasureError
        ELM_REFERENCE, BAD_ELM, or UNKNOWN_TYPE.
    """
    walk = _Walk(period)
    for main in mains:
        walk.begin(main)
    walk.run()
    return sorted(walk.found, key=_order)


def _order(requirement: DataRequirement) -> tuple[str, ...]:
    filters = (requirement.code_filter, requirement.date_filter, requirement.profile)
    return requirement.type, *map(repr, filters)


class _Walk:
    def __init__(self, period: Period | None) -> None:
        self.found: dict[DataRequirement, None] = {}
        self._period = period
        self._codes = CodeReader()
        self._seen: set[tuple[int, str]] = set()
        self._todo: list[tuple[object, Loaded]] = []

    def begin(self, library: Loaded) -> None:
        for name in library.elm.statements:
            if name not in _CONTEXTS:
                self._enter(library, name)

    def run(self) -> None:
        while self._todo:
            node, library = self._todo.pop()
            if isinstance(node, list):
                self._todo += [(each, library) for each in node]
            elif isinstance(node, dict):
                self._visit(node, library)

    def _visit(self, node: Node, library: Loaded) -> None:
        kind = node.get("type")
        if kind == "Retrieve":
            self.found.update(dict.fromkeys(_requirements(node, library, self._period, self._codes)))
        elif kind in ("ExpressionRef", "FunctionRef"):
            self._follow(node, library)
        self._todo += [
            (child, library)
            for key, child in node.items()
            if key not in _NO_LOGIC and isinstance(child, dict | list)
        ]

    def _follow(self, node: Node, library: Loaded) -> None:
        name, library_name = node.get("name"), node.get("libraryName")
        if not isinstance(name, str) or not isinstance(library_name, str | None):
            raise MeasureError(MeasureProblem.BAD_ELM, library.name)
        link = Link(name, library_name)
        place = home(link, library)
        if place is None:
            return
        if name in place.elm.statements:
            self._enter(place, name)
        elif name not in _CONTEXTS:
            raise undefined(link, library)

    def _enter(self, library: Loaded, name: str) -> None:
        if (id(library), name) not in self._seen:
            self._seen.add((id(library), name))
            # Of functions with the same name, all: which one is meant is a matter of types.
            self._todo += [(body, library) for body in library.elm.statements[name]]


def _requirements(
    node: Node, library: Loaded, period: Period | None, reader: CodeReader
) -> list[DataRequirement]:
    type_ = _type(node.get("dataType"), library)
    profile = node.get("templateId")
    profiles = (profile,) if isinstance(profile, str) and profile else ()
    dates = _dates(node, period)
    requirements = [
        DataRequirement(type=type_, profile=profiles, code_filter=filters, date_filter=dates)
        for filters in _code_filters(node, library, reader)
    ]
    return requirements + _included(node, library)


def _type(data_type: object, library: Loaded) -> str:
    """Give the resource type of `{namespace}Type`.

    QI-Core's and US Core's models have namespaces below FHIR's.
    """
    namespace, found, type_ = data_type.rpartition("}") if isinstance(data_type, str) else ("", "", "")
    if found and namespace.startswith("{" + _MODEL) and type_ in RESOURCE_TYPES:
        return type_
    raise MeasureError(MeasureProblem.UNKNOWN_TYPE, f"{library.name}: {data_type}")


def _code_filters(node: Node, library: Loaded, reader: CodeReader) -> list[tuple[CodeFilter, ...]]:
    """Give the alternatives, each a list of filters that must all be met; one empty list for no filter."""
    alternatives: list[tuple[CodeFilter, ...]] = [()]
    for path, codes in _coded(node):
        if not isinstance(codes, dict) or not (options := _options(path, codes, library, reader)):
            continue
        # A filter more is never needed: without it, more is exported than was asked for.
        if len(alternatives) == 1 or len(alternatives) * len(options) <= _MOST_COMBINATIONS:
            alternatives = [(*before, option) for before in alternatives for option in options]
    return alternatives


def _coded(node: Node) -> list[tuple[object, object]]:
    filters = node.get("codeFilter")
    found: list[tuple[object, object]] = [(node.get("codeProperty"), node.get("codes"))]
    if isinstance(filters, list):
        # ELM 1.5: further filters, which the translator makes when it is told to optimise.
        found += [(each.get("property"), each.get("value")) for each in filters if isinstance(each, dict)]
    return found


def _options(path: object, node: Node, library: Loaded, reader: CodeReader) -> list[CodeFilter]:
    if not isinstance(path, str):
        return []
    codes = reader.read(node, library)
    if codes is None:
        # Which codes is known when the logic runs; then all resources of the type may be needed.
        return []
    options = [CodeFilter(path=path, value_set=value_set) for value_set in codes.value_sets]
    if codes.codes:
        options.append(CodeFilter(path=path, code=codes.codes))
    return options


def _dates(node: Node, period: Period | None) -> tuple[DateFilter, ...]:
    found = [(node.get("dateProperty"), node.get("dateRange"))]
    filters = node.get("dateFilter")
    if isinstance(filters, list):
        found += [(each.get("property"), each.get("value")) for each in filters if isinstance(each, dict)]
    return tuple(
        DateFilter(path=path, value_period=period_of(value, period))
        for path, value in found
        if isinstance(path, str)
    )


def _included(node: Node, library: Loaded) -> list[DataRequirement]:
    """Give the types that come with those retrieved (ELM 1.5, IncludeElement)."""
    includes = node.get("include")
    if not isinstance(includes, list):
        return []
    related = [each.get("relatedDataType") for each in includes if isinstance(each, dict)]
    return [DataRequirement(type=_type(each, library)) for each in related if each is not None]
