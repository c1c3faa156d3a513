"""How Measures, Libraries and ValueSets are looked up, wherever they are kept.

What needs artifacts is written as a generator that yields what it wants and is sent the resource's JSON or
None. So it does no I/O: `look_up` runs it with a port that answers at once, `look_up_async` with one that has
to be awaited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
from msgspec import Raw

from sluice_contracts.wire import UNREADABLE
from sluice_fhir.measures.datatypes import Fhir, Named
from sluice_fhir.measures.problems import MeasureError, MeasureProblem

_KINDS = frozenset({"Measure", "Library", "ValueSet"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """An artifact that is needed.

    Parameters
    ----------
    kind
        `Measure`, `Library` or `ValueSet`.
    canonical
        `url`, `url|version`, or `Type/id`. Without a version any version will do, the newest best.
    """

    kind: str
    canonical: str


Found = TypeVar("Found")
Search = Generator[Wanted, bytes | None, Found]


class Artifacts(Protocol):
    """Where artifacts are kept."""

    def get(self, canonical: str) -> bytes | None:
        """Give the JSON of an artifact, None if there is none.

        Parameters
        ----------
        canonical
            As in `Wanted`.
        """


def look_up(search: Search[Found], artifacts: Artifacts) -> Found:
    """Run what needs artifacts.

    Raises
    ------
    MeasureError
        Whatever the search finds wrong.
    """
    try:
        wanted = next(search)
        while True:
            wanted = search.send(artifacts.get(wanted.canonical))
    except StopIteration as end:
        result: Found = end.value
        return result


async def look_up_async(search: Search[Found], get: Callable[[Wanted], Awaitable[bytes | None]]) -> Found:
    """Run what needs artifacts that have to be waited for.

    Raises
    ------
    MeasureError
        Whatever the search finds wrong.
    """
    try:
        wanted = next(search)
        while True:
            wanted = search.send(await get(wanted))
    except StopIteration as end:
        result: Found = end.value
        return result


class _Identified(Named, frozen=True):
    url: str | None = None
    version: str | None = None


class _Entry(Fhir, frozen=True):
    resource: Raw = Raw()


class _Bundle(Fhir, frozen=True):
    resource_type: str = ""
    entry: tuple[_Entry, ...] = ()


class BundledArtifacts:
    """The artifacts of a Bundle (or of any resources), by canonical URL and by type and id.

    Of several with the same name the last counts; without a version, the highest one does.

    Parameters
    ----------
    resources
        The JSON of each; what is neither Measure, Library nor ValueSet is passed over.
    """

    def __init__(self, resources: Iterable[bytes | Raw]) -> None:
        self._found: dict[str, bytes] = {}
        newest: dict[str, tuple[tuple[tuple[int, str], ...], bytes]] = {}
        self.measures: tuple[str, ...] = ()
        for body in resources:
            resource = _identified(body)
            if resource is None or resource.resource_type not in _KINDS:
                continue
            text = bytes(body)
            if resource.id is not None:
                self._found[f"{resource.resource_type}/{resource.id}"] = text
            if resource.url is not None:
                order = version_order(resource.version or "")
                if resource.url not in newest or newest[resource.url][0] <= order:
                    newest[resource.url] = (order, text)
                if resource.version is not None:
                    self._found[f"{resource.url}|{resource.version}"] = text
            if resource.resource_type == "Measure":
                name = resource.url or f"Measure/{resource.id}"
                self.measures += (
                    f"{name}|{resource.version}" if resource.url and resource.version else name,
                )
        self._found.update((url, text) for url, (_, text) in newest.items())

    @classmethod
    def of(cls, bundle: bytes) -> BundledArtifacts:
        """Take the artifacts out of a Bundle of any type.

        Raises
        ------
        MeasureError
            It is not JSON, or no Bundle.
        """
        try:
            read = msgspec.json.decode(bundle, type=_Bundle)
        except msgspec.ValidationError as error:
            raise MeasureError(MeasureProblem.NOT_A_BUNDLE) from error
        except UNREADABLE as error:
            raise MeasureError(MeasureProblem.NOT_JSON) from error
        if read.resource_type != "Bundle":
            raise MeasureError(MeasureProblem.NOT_A_BUNDLE)
        return cls(entry.resource for entry in read.entry if entry.resource)

    def get(self, canonical: str) -> bytes | None:
        """Give an artifact's JSON."""
        return self._found.get(canonical)


def _identified(body: bytes | Raw) -> _Identified | None:
    try:
        return msgspec.json.decode(body, type=_Identified)
    except UNREADABLE:
        # Another resource may have a `url` of another shape; what cannot be named cannot be asked for.
        return None


def version_order(version: str) -> tuple[tuple[int, str], ...]:
    """Make business versions comparable: the highest is the newest.

    Numbers count by their value, other words by their text; what ends in a word comes before what ends
    without it, as drafts do.
    """
    parts = version.replace("-", ".").split(".")
    found = ((int(part), "") if part.isdecimal() and len(part) < 18 else (-2, part) for part in parts)
    return (*found, (-1, ""))
