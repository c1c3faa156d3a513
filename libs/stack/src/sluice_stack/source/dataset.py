"""A data set in memory: every read and simple search as an answer made beforehand."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from sluice_stack.source.answers import FHIR_JSON, Answer, content, fhir

Resource = dict[str, Any]

# Which element each search parameter looks at, for the searches that scrape schemas use.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "subject": ("subject",),
    "patient": ("subject", "patient"),
    "study": ("study",),
    "individual": ("individual",),
}


class DataSet:
    """Resources and attachments under one base URL.

    Parameters
    ----------
    name, software
        What its CapabilityStatement calls it.
    resources
        The resources, in any order; references in them are literal (`Patient/…`).
    pack
        Whether answers are kept compressed too, for clients that accept that.
    """

    def __init__(
        self, name: str, software: str, resources: Iterable[Resource] = (), *, pack: bool = False
    ) -> None:
        self.name = name
        self._software = software
        self._pack = pack
        self._reads: dict[str, Answer] = {}
        self._files: dict[str, Answer] = {}
        self._found: dict[tuple[str, str, str], list[bytes]] = defaultdict(list)
        self._types: set[str] = set()
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Put a resource in, as its only version."""
        kind, name = resource["resourceType"], resource["id"]
        version = resource.setdefault("meta", {}).setdefault("versionId", "1")
        body = msgspec.json.encode(resource)
        answer = fhir(body, version=version, pack=self._pack)
        self._types.add(kind)
        self._reads[f"{kind}/{name}"] = answer
        self._reads[f"{kind}/{name}/_history/{version}"] = answer
        for parameter, value in _search_values(resource):
            self._found[kind, parameter, value].append(body)

    def add_file(self, name: str, body: bytes, content_type: str) -> None:
        """Put an attachment in: raw at `files/{name}`, raw or wrapped at `Binary/{name}`."""
        self._types.add("Binary")
        self._files[name] = content(body, content_type)

    def names(self, kind: str) -> list[str]:
        """List the ids of a type's resources, in the order they came."""
        start = f"{kind}/"
        return [
            path[len(start) :] for path in self._reads if path.startswith(start) and "_history" not in path
        ]

    @property
    def types(self) -> tuple[str, ...]:
        """The types of its resources, by name."""
        return tuple(sorted(self._types))

    def lines(self, kind: str) -> list[bytes]:
        """Give a type's resources as JSON without line ends; attachments are Binary resources."""
        found = [self._reads[f"{kind}/{name}"].body for name in self.names(kind)]
        if kind == "Binary":
            found += [wrapped(name, file).body for name, file in self._files.items()]
        return found

    def read(self, path: str) -> Answer | None:
        """Give the answer to a read below the base, None if there is no such thing."""
        if path == "metadata":
            return fhir(self._capabilities())
        return self._reads.get(path)

    def file(self, path: str, accept: str) -> Answer | None:
        """Give the attachment at `files/{name}` or `Binary/{name}`, None if there is none.

        A Binary is wrapped in its resource only for those who ask for FHIR (R4 section 2.37.3).
        """
        kind, _, name = path.partition("/")
        found = self._files.get(name) if kind in ("files", "Binary") else None
        if found is None or kind == "files" or "fhir" not in accept:
            return found
        return wrapped(name, found)

    def search(
        self, kind: str, query: str, more: Callable[[str], Answer | None] | None = None
    ) -> Answer | None:
        """Give the searchset for a query of one parameter, None for a type that is not there.

        Of several values any may match (R4 section 3.1.1.4.5), and everything is one page. Parameters other
        than those known are ignored, as R4 section 3.1.1.2 lets a server do.

        Parameters
        ----------
        more
            Reads what is not in the data set and found by its id all the same.
        """
        if kind not in self._types:
            return None
        bodies: list[bytes] = []
        for parameter, values in parse_qsl(query):
            if parameter in _PARAMETERS or parameter in ("identifier", "_id"):
                for value in dict.fromkeys(values.split(",")):
                    bodies += self._found.get((kind, parameter, _canonical(parameter, value)), [])
                    if more and parameter == "_id" and (made := more(f"{kind}/{value}")) is not None:
                        bodies.append(made.body)
                break
        return fhir(_bundle(bodies))

    def _capabilities(self) -> Resource:
        return {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-01-01",
            "kind": "instance",
            "software": {"name": self._software, "version": "1"},
            "implementation": {"description": self.name},
            "fhirVersion": "4.0.1",
            "format": ["json"],
            "rest": [
                {
                    "mode": "server",
                    "resource": [
                        {
                            "type": kind,
                            "interaction": [{"code": "read"}, {"code": "search-type"}],
                            "searchParam": [{"name": "_id", "type": "token"}],
                        }
                        for kind in sorted(self._types)
                    ],
                }
            ],
        }


def wrapped(name: str, raw: Answer) -> Answer:
    """Make the Binary resource that holds an attachment."""
    resource = {
        "resourceType": "Binary",
        "id": name,
        "contentType": raw.headers["Content-Type"],
        "data": base64.b64encode(raw.body).decode(),
    }
    answer = fhir(resource)
    answer.headers["Content-Type"] = FHIR_JSON
    return answer


def _canonical(parameter: str, value: str) -> str:
    if parameter in ("patient", "subject") and "/" not in value:
        return f"Patient/{value}"
    return value


def _search_values(resource: Resource) -> Iterator[tuple[str, str]]:
    yield "_id", resource["id"]
    for parameter, elements in _PARAMETERS.items():
        for element in elements:
            reference = resource.get(element)
            if isinstance(reference, dict) and "reference" in reference:
                yield parameter, reference["reference"]
    for identifier in resource.get("identifier", ()):
        yield "identifier", f"{identifier.get('system', '')}|{identifier.get('value', '')}"
        yield "identifier", str(identifier.get("value", ""))


def _bundle(bodies: list[bytes]) -> bytes:
    entries = b",".join(b'{"search":{"mode":"match"},"resource":%b}' % body for body in bodies)
    return b'{"resourceType":"Bundle","type":"searchset","total":%d,"entry":[%b]}' % (len(bodies), entries)
