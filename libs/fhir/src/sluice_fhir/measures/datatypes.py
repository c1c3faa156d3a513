"""The R4 artifacts of a measure, as far as they are of interest here, and the data type DataRequirement."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.json_depth import is_deeper
from sluice_fhir.measures.problems import MeasureError, MeasureProblem

DEEPEST = 150
"""How deep resources may nest."""
DEEPEST_ELM = 400
"""How deep ELM may nest. What is published nests about 50 deep; decoders give up near 1,000."""


class Fhir(Struct, rename="camel", omit_defaults=True, frozen=True):
    """A part of a resource, with the names that FHIR gives its elements."""


class Coding(Fhir, frozen=True):
    """A code of a code system."""

    code: str | None = None
    system: str | None = None
    version: str | None = None
    display: str | None = None


class CodeFilter(Fhir, frozen=True):
    """Codes that an element must have one of: of the value set, or of the list."""

    path: str | None = None
    search_param: str | None = None
    value_set: str | None = None
    code: tuple[Coding, ...] = ()


class Period(Fhir, frozen=True):
    """A time span; its ends are FHIR dateTimes, inclusive."""

    start: str | None = None
    end: str | None = None


class DateFilter(Fhir, frozen=True):
    """When an element must be."""

    path: str | None = None
    search_param: str | None = None
    value_date_time: str | None = None
    value_period: Period | None = None
    value_duration: dict[str, Any] | None = None


class DataRequirement(Fhir, frozen=True):
    """Data that is needed (R4, data type DataRequirement): all filters must be met."""

    type: str
    profile: tuple[str, ...] = ()
    must_support: tuple[str, ...] = ()
    code_filter: tuple[CodeFilter, ...] = ()
    date_filter: tuple[DateFilter, ...] = ()

    @property
    def filtered(self) -> bool:
        """Whether there are values to filter by."""
        return any(each.value_set or each.code for each in self.code_filter)


class Reference(Fhir, frozen=True):
    """A reference to a resource, of which only the literal is of interest."""

    reference: str | None = None


class RelatedArtifact(Fhir, frozen=True):
    """Another artifact, and how it is related."""

    type: str = ""
    resource: str | None = None


class Extension(Fhir, frozen=True):
    """An extension, of which only values that point at artifacts are of interest."""

    url: str = ""
    value_reference: Reference | None = None
    value_canonical: str | None = None
    value_uri: str | None = None
    value_related_artifact: RelatedArtifact | None = None


class Attachment(Fhir, frozen=True):
    """Content of a Library; `data` is base64."""

    content_type: str = ""
    data: str | None = None


class Library(Fhir, frozen=True):
    """A Library."""

    resource_type: str = ""
    id: str | None = None
    url: str | None = None
    version: str | None = None
    name: str | None = None
    related_artifact: tuple[RelatedArtifact, ...] = ()
    data_requirement: tuple[DataRequirement, ...] = ()
    content: tuple[Attachment, ...] = ()


class Group(Fhir, frozen=True):
    """A group of populations; of a composite measure it has the components."""

    extension: tuple[Extension, ...] = ()


class Measure(Fhir, frozen=True):
    """A Measure. `contained` are resources as they stand."""

    resource_type: str = ""
    id: str | None = None
    url: str | None = None
    version: str | None = None
    name: str | None = None
    title: str | None = None
    library: tuple[str, ...] = ()
    effective_period: Period | None = None
    related_artifact: tuple[RelatedArtifact, ...] = ()
    extension: tuple[Extension, ...] = ()
    group: tuple[Group, ...] = ()
    contained: tuple[Raw, ...] = ()


class Named(Fhir, frozen=True):
    """What every resource has."""

    resource_type: str = ""
    id: str | None = None


Artifact = TypeVar("Artifact", Library, Measure)


def name_of(artifact: Library | Measure) -> str:
    """Name an artifact: its canonical URL with its version if it has one, else its type and id."""
    if artifact.url is None:
        return f"{artifact.resource_type}/{artifact.id or '?'}"
    return f"{artifact.url}|{artifact.version}" if artifact.version else artifact.url


def decode_artifact(kind: type[Artifact], body: bytes | Raw, about: str) -> Artifact:
    """Read a Library or Measure.

    Raises
    ------
    MeasureError
        BAD_ARTIFACT, TOO_DEEP, or WRONG_ARTIFACT if it is another resource.
    """
    if is_deeper(bytes(body), DEEPEST):
        raise MeasureError(MeasureProblem.TOO_DEEP, about)
    try:
        if msgspec.json.decode(body, type=Named).resource_type != kind.__name__:
            raise MeasureError(MeasureProblem.WRONG_ARTIFACT, about)
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise MeasureError(MeasureProblem.BAD_ARTIFACT, about) from error
