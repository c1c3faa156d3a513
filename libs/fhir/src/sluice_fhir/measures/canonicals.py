"""Canonical URLs, and where to look for an artifact that goes by several names.

Published measures name the same Library in different ways: by canonical URL, by relative reference, with the
namespace of another publisher, or with its id where the URL's last part should be (Connectathon bundles do
all of it). Names that only may be right are tried last, and what is found by one has to prove that it is
meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluice_fhir.measures.datatypes import Library, RelatedArtifact


@dataclass(frozen=True, slots=True)
class Canonical:
    """A canonical URL (R4, data type canonical): the URL, and the version if one is asked for."""

    url: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.url}|{self.version}" if self.version else self.url

    @property
    def last(self) -> str:
        """The last part of the URL's path."""
        return self.url.rstrip("/").rpartition("/")[2]

    @property
    def base(self) -> str:
        """What is before the last part."""
        return self.url.rstrip("/").rpartition("/")[0]


def parse_canonical(text: str) -> Canonical:
    """Read a canonical; a fragment is left out."""
    url, _, version = text.strip().partition("#")[0].partition("|")
    return Canonical(url, version or None)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A name to look for; what a `guess` finds has to be of the right name and version."""

    canonical: str
    guess: bool = False


def of_reference(text: str, kind: str) -> Iterator[Candidate]:
    """Give the names of an artifact that is referred to by `text`."""
    wanted = parse_canonical(text)
    yield Candidate(str(wanted))
    if ":" in wanted.url and wanted.last:
        # EXM347: http://…/Library/library-EXM347-3.2.000, which is the id, not the URL.
        yield Candidate(f"{kind}/{wanted.last}", guess=True)


def of_include(path: str, version: str | None, includer: Library) -> Iterator[Candidate]:
    """Give the names of a Library that an ELM library includes.

    Parameters
    ----------
    path
        Namespace and name, `http://example.org/ig/Common`, or a name only (ELM, IncludeDef).
    includer
        Whose include it is: what it depends on is named there once more, mostly rightly.
    """
    wanted = Canonical(path, version)
    name = wanted.last
    seen: set[Candidate] = set()
    for candidate in _of_include(wanted, name, includer):
        if candidate not in seen:
            seen.add(candidate)
            yield candidate


def _of_include(wanted: Canonical, name: str, includer: Library) -> Iterator[Candidate]:
    if wanted.base:
        # Using CQL with FHIR: the namespace, then `/Library/`, then the name.
        yield Candidate(str(Canonical(f"{wanted.base}/Library/{name}", wanted.version)))
    for artifact in includer.related_artifact:
        if (depended := _dependency(artifact)) and depended.last in (name, f"library-{name}"):
            yield Candidate(str(Canonical(depended.url, wanted.version or depended.version)))
    if includer.url:
        siblings = parse_canonical(includer.url).base
        yield Candidate(str(Canonical(f"{siblings}/{name}", wanted.version)), guess=True)
    # Ids have no underscores.
    plain = name.replace("_", "-")
    if wanted.version:
        yield Candidate(f"Library/library-{plain}-{wanted.version}", guess=True)
        yield Candidate(f"Library/{plain}-{wanted.version}", guess=True)
    yield Candidate(f"Library/{plain}", guess=True)


def _dependency(artifact: RelatedArtifact) -> Canonical | None:
    if artifact.type != "depends-on" or not artifact.resource:
        return None
    return parse_canonical(artifact.resource)
