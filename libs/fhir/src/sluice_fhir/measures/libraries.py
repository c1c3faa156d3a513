"""A measure's Libraries: the ones it names and all that those include, each with its ELM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from msgspec import Raw

from sluice_fhir.measures.artifacts import Search, Wanted
from sluice_fhir.measures.canonicals import Candidate, Canonical, of_include, of_reference, parse_canonical
from sluice_fhir.measures.datatypes import Library, Measure, Named, decode_artifact, name_of
from sluice_fhir.measures.elm import Elm, Include, elm_of
from sluice_fhir.measures.problems import MeasureError, MeasureProblem

DEEPEST_INCLUDES = 32
MOST_LIBRARIES = 200

# The conversions between FHIR's and CQL's types. They retrieve nothing, nearly every measure includes them,
# and a third of published bundles leave them out, so these alone need not be there.
_CONVERSIONS = "FHIRHelpers"


@dataclass(eq=False)
class Loaded:
    """A Library with its ELM; `includes` by local name, None for conversions that are not there."""

    library: Library
    elm: Elm
    includes: dict[str, Loaded | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its canonical, or type and id."""
        return name_of(self.library)


class Loader:
    """Loads Libraries, each once. Make a new one for each measure.

    Attributes
    ----------
    loaded
        All Libraries so far, each after those that it includes.
    """

    def __init__(self) -> None:
        self.loaded: list[Loaded] = []
        self._by_name: dict[str, Loaded] = {}
        self._underway: list[str] = []

    def main(self, measure: Measure) -> Search[list[Loaded]]:
        """Load the Libraries that a Measure names, and those that these include.

        Raises
        ------
        MeasureError
            LIBRARY_MISSING, TOO_MANY_ARTIFACTS, CYCLIC_INCLUDES, or what is wrong with a Library.
        """
        found: list[Loaded] = []
        for reference in measure.library:
            library = contained_library(measure, reference)
            if library is None:
                wanted = parse_canonical(reference)
                library = yield from _first(of_reference(reference, "Library"), None, wanted.version, wanted)
            if library is None:
                raise MeasureError(MeasureProblem.LIBRARY_MISSING, reference)
            found.append((yield from self._load(library)))
        return found

    def _load(self, library: Library) -> Search[Loaded]:
        name = name_of(library)
        if (known := self._by_name.get(name)) is not None:
            return known
        if name in self._underway:
            circle = self._underway[self._underway.index(name) :]
            raise MeasureError(
                MeasureProblem.CYCLIC_INCLUDES, " > ".join(_short(each) for each in (*circle, name))
            )
        if len(self._underway) >= DEEPEST_INCLUDES:
            raise MeasureError(MeasureProblem.TOO_DEEP, name)
        if len(self.loaded) + len(self._underway) >= MOST_LIBRARIES:
            raise MeasureError(MeasureProblem.TOO_MANY_ARTIFACTS, name)
        self._underway.append(name)
        loaded = Loaded(library, elm_of(library))
        for local, include in loaded.elm.includes.items():
            loaded.includes[local] = yield from self._include(include, library)
        self._underway.pop()
        self._by_name[name] = loaded
        self.loaded.append(loaded)
        return loaded

    def _include(self, include: Include, includer: Library) -> Search[Loaded | None]:
        wanted = Canonical(include.path, include.version)
        found = yield from _first(
            of_include(include.path, include.version, includer), wanted.last, include.version, wanted
        )
        if found is not None:
            return (yield from self._load(found))
        if wanted.last == _CONVERSIONS:
            return None
        raise MeasureError(MeasureProblem.LIBRARY_MISSING, str(wanted))


def contained_library(measure: Measure, reference: str) -> Library | None:
    """Give the contained Library that `#id` refers to; None for other references.

    Raises
    ------
    MeasureError
        LIBRARY_MISSING if there is none of that id, or what is wrong with it.
    """
    if not reference.startswith("#"):
        return None
    about = f"{name_of(measure)}{reference}"
    for body in measure.contained:
        if _id_of(body, about) == reference[1:]:
            return decode_artifact(Library, body, about)
    raise MeasureError(MeasureProblem.LIBRARY_MISSING, about)


def _id_of(body: Raw, about: str) -> str | None:
    try:
        return msgspec.json.decode(body, type=Named).id
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MeasureError(MeasureProblem.BAD_ARTIFACT, about) from error


def _first(
    candidates: Iterable[Candidate], name: str | None, version: str | None, wanted: Canonical
) -> Search[Library | None]:
    """Find the first candidate that is there and, if it was guessed, is of this name and version."""
    for candidate in candidates:
        body = yield Wanted("Library", candidate.canonical)
        if body is None:
            continue
        library = decode_artifact(Library, body, str(wanted))
        if not candidate.guess or _is_meant(library, name, version):
            return library
    return None


def _is_meant(library: Library, name: str | None, version: str | None) -> bool:
    own = library.name or (parse_canonical(library.url).last if library.url else library.id)
    return (name is None or own == name) and (version is None or library.version == version)


def _short(name: str) -> str:
    return parse_canonical(name).last
