"""A measure's data requirements: the ones it states, or else the ones its logic has.

    artifacts = BundledArtifacts.of(bundle)
    found = look_up(find_requirements("http://example.org/Measure/A|1.0.0"), artifacts)
    found.types, found.library()

A measure states them by the extension effectiveDataRequirements (of cqfm or crmi): a module-definition
Library in it or beside it. Otherwise the ELM of its Libraries is walked. A composite measure needs what its
components need.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.measures.artifacts import Search, Wanted
from sluice_fhir.measures.canonicals import of_reference, parse_canonical
from sluice_fhir.measures.datatypes import (
    DataRequirement,
    Library,
    Measure,
    Period,
    decode_artifact,
    name_of,
)
from sluice_fhir.measures.libraries import Loader, contained_library
from sluice_fhir.measures.problems import Finding, MeasureError, MeasureProblem
from sluice_fhir.measures.retrieves import retrieved

EFFECTIVE = (
    "http://hl7.org/fhir/us/cqfmeasures/StructureDefinition/cqfm-effectiveDataRequirements",
    "http://hl7.org/fhir/uv/crmi/StructureDefinition/crmi-effectiveDataRequirements",
)
"""The extensions by which a Measure states its data requirements: a reference, and a canonical."""

MOST_MEASURES = 100
_PATIENT = DataRequirement(type="Patient")
_TYPE_SYSTEM = "http://terminology.hl7.org/CodeSystem/library-type"

Origin = Literal["stated", "logic", "components"]


class Requirements(Struct, frozen=True):
    """What a measure needs.

    Parameters
    ----------
    measure
        Its canonical URL with its version, or its type and id.
    requirements
        Each once, in order; `Patient` is always among them.
    libraries
        The Libraries that were read for them.
    value_sets
        The ValueSets that they name, in order.
    origin
        Whether the measure states them, its logic has them, or its components do.
    """

    measure: str
    requirements: tuple[DataRequirement, ...]
    libraries: tuple[str, ...]
    value_sets: tuple[str, ...]
    origin: Origin

    @property
    def types(self) -> tuple[str, ...]:
        """The types of resources that are needed, in order."""
        return tuple(sorted({each.type for each in self.requirements}))

    def library(self) -> dict[str, Any]:
        """Give the Library that `$data-requirements` answers with, decoded (R4, module-definition)."""
        related = [*dict.fromkeys((self.measure, *self.libraries, *self.value_sets))]
        return {
            "resourceType": "Library",
            "status": "active",
            "type": {"coding": [{"system": _TYPE_SYSTEM, "code": "module-definition"}]},
            "relatedArtifact": [{"type": "depends-on", "resource": each} for each in related],
            "dataRequirement": msgspec.json.decode(msgspec.json.encode(self.requirements)),
        }


def find_measure(reference: str) -> Search[Measure]:
    """Find a Measure by its canonical URL, with a version or without, or by `Measure/id`.

    Raises
    ------
    MeasureError
        MEASURE_MISSING, or what is wrong with it.
    """
    body = yield Wanted("Measure", str(parse_canonical(reference)))
    if body is None:
        raise MeasureError(MeasureProblem.MEASURE_MISSING, reference)
    return decode_artifact(Measure, body, reference)


def find_requirements(reference: str, period: Period | None = None) -> Search[Requirements]:
    """Find out what a measure needs.

    Parameters
    ----------
    reference
        Its canonical URL, with a version or without, or `Measure/id`.
    period
        The measurement period; without it the measure's effective period.

    Raises
    ------
    MeasureError
        Something is missing (404) or cannot be used (422); the finding names it.
    """
    measure = yield from find_measure(reference)
    return (yield from requirements_of(measure, period))


def requirements_of(measure: Measure, period: Period | None = None) -> Search[Requirements]:
    """Find out what this measure needs: `find_requirements` for a Measure that is at hand."""
    return (yield from _Calculation(period).of(measure))


def find_missing_value_sets(requirements: Requirements) -> Search[tuple[str, ...]]:
    """Say which of the ValueSets that are named are not there."""
    missing: list[str] = []
    for value_set in requirements.value_sets:
        found = yield Wanted("ValueSet", value_set)
        if found is None:
            missing.append(value_set)
    return tuple(missing)


def require_value_sets(requirements: Requirements) -> Search[None]:
    """Make sure that all ValueSets that are named are there.

    Raises
    ------
    MeasureError
        VALUE_SET_MISSING, a finding for each.
    """
    missing = yield from find_missing_value_sets(requirements)
    if missing:
        raise MeasureError.of(Finding(MeasureProblem.VALUE_SET_MISSING, each) for each in missing)


class _Calculation:
    """One measure and its components, of which each is looked at once."""

    def __init__(self, period: Period | None) -> None:
        self._period = period
        self._underway: list[str] = []
        self._done: dict[str, Requirements] = {}

    def of(self, measure: Measure) -> Search[Requirements]:
        name = name_of(measure)
        if name in self._done:
            return self._done[name]
        if name in self._underway:
            raise MeasureError(MeasureProblem.CYCLIC_MEASURES, name)
        if len(self._underway) + len(self._done) >= MOST_MEASURES:
            raise MeasureError(MeasureProblem.TOO_MANY_ARTIFACTS, name)
        self._underway.append(name)
        found = yield from self._found(measure)
        self._underway.pop()
        self._done[name] = found
        return found

    def _found(self, measure: Measure) -> Search[Requirements]:
        stated = yield from _stated(measure)
        if stated is not None and stated.data_requirement:
            return _requirements(measure, _known(stated), (), "stated")
        if measure.library:
            loader = Loader()
            mains = yield from loader.main(measure)
            needed = retrieved(mains, self._period or measure.effective_period)
            return _requirements(measure, needed, (each.name for each in loader.loaded), "logic")
        if components := list(dict.fromkeys(_components(measure))):
            return (yield from self._composed(measure, components))
        raise MeasureError(MeasureProblem.NO_LIBRARY, name_of(measure))

    def _composed(self, measure: Measure, components: Iterable[str]) -> Search[Requirements]:
        needed: list[DataRequirement] = []
        libraries: dict[str, None] = {}
        for reference in components:
            part = yield from self.of((yield from find_measure(reference)))
            needed += part.requirements
            libraries.update(dict.fromkeys((part.measure, *part.libraries)))
        return _requirements(measure, needed, libraries, "components")


def _components(measure: Measure) -> Iterator[str]:
    """Give the measures that a composite one consists of, which it or its groups name."""
    extensions = (*measure.extension, *(each for group in measure.group for each in group.extension))
    parts = [each.value_related_artifact for each in extensions if each.value_related_artifact]
    for artifact in (*measure.related_artifact, *parts):
        if artifact.type == "composed-of" and artifact.resource:
            yield artifact.resource


def _stated(measure: Measure) -> Search[Library | None]:
    """Find the Library by which a measure states what it needs, if it has one."""
    for reference in _stated_references(measure):
        library = contained_library(measure, reference)
        if library is not None:
            return library
        for candidate in of_reference(reference, "Library"):
            body = yield Wanted("Library", candidate.canonical)
            if body is not None:
                return decode_artifact(Library, body, reference)
        raise MeasureError(MeasureProblem.LIBRARY_MISSING, reference)
    return None


def _stated_references(measure: Measure) -> Iterator[str]:
    for extension in measure.extension:
        if extension.url in EFFECTIVE:
            reference = extension.value_reference.reference if extension.value_reference else None
            if found := reference or extension.value_canonical or extension.value_uri:
                yield found


def _known(library: Library) -> Iterable[DataRequirement]:
    for requirement in library.data_requirement:
        if requirement.type not in RESOURCE_TYPES:
            raise MeasureError(MeasureProblem.UNKNOWN_TYPE, f"{name_of(library)}: {requirement.type}")
    return library.data_requirement


def _requirements(
    measure: Measure, needed: Iterable[DataRequirement], libraries: Iterable[str], origin: Origin
) -> Requirements:
    """Put together what was found: each requirement once, and `Patient` once, as a whole."""
    unique: dict[bytes, DataRequirement] = {msgspec.json.encode(_PATIENT): _PATIENT}
    for each in needed:
        if each.type != "Patient" or each.filtered:
            unique.setdefault(msgspec.json.encode(each), each)
    ordered = tuple(sorted(unique.values(), key=lambda each: each.type))
    value_sets = sorted(
        {found.value_set for each in ordered for found in each.code_filter if found.value_set}
    )
    return Requirements(name_of(measure), ordered, tuple(libraries), tuple(value_sets), origin)
