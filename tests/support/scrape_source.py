"""A source in memory for scraping: resources and failures by their place, and what was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from sluice_contracts.errors import ItemError
from sluice_fhir.scrape_compile import compile_schema
from sluice_fhir.scrape_plan import Plan
from sluice_fhir.scrape_schema import load_validator, read_schema
from sluice_security.failure import SourceFailure

BASE = "https://fhir.example.org/r4"
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "scrape"

Resource = dict[str, Any]


class MemorySource:
    """Reads from a dictionary: `sluice_fhir.scrape.Reader`."""

    def __init__(self, *resources: Resource, base: str = BASE) -> None:
        self.base = base
        self.bodies: dict[str, bytes] = {}
        self.failures: dict[str, SourceFailure] = {}
        self.reads: list[str] = []
        for resource in resources:
            self.put(f"{resource['resourceType']}/{resource['id']}", resource)

    def put(self, place: str, resource: Resource | bytes) -> None:
        """Put a resource, or a search's Bundle, at a place below the base."""
        self.bodies[place] = resource if isinstance(resource, bytes) else msgspec.json.encode(resource)

    async def read(self, url: str, expected: str) -> bytes:
        """Give what is at `url`; what is not there is 404."""
        assert url.startswith(self.base + "/"), url
        place = url.removeprefix(self.base + "/")
        self.reads.append(place)
        if place in self.failures:
            raise self.failures[place]
        if place not in self.bodies:
            raise SourceFailure(ItemError.DOCUMENT_NOT_FOUND, 404)
        return self.bodies[place]


def bundle(*resources: Resource) -> Resource:
    """Give a searchset."""
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"resource": resource, "search": {"mode": "match"}} for resource in resources],
    }


def plan_of(authored: Resource) -> Plan:
    """Compile a schema; what it does not say is as small as can be."""
    whole = {"name": "test", "version": "1.0.0", "title": "Test", "match": {}, **authored}
    return compile_schema(
        read_schema(msgspec.json.encode(whole), "test.json", load_validator(SCHEMAS)), "test.json"
    )


def document(**fields: Any) -> Resource:
    """Give a DocumentReference."""
    return {"resourceType": "DocumentReference", "id": "d1", "status": "current", **fields}
