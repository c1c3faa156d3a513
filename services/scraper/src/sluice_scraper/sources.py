"""A source as scraping sees it: how to read from it, and which schema its documents are scraped with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec
import structlog

from sluice_fhir.client import FetchedResource
from sluice_fhir.scrape_cache import SharedReads
from sluice_fhir.scrape_match import Capability, SchemaSet, UnknownSchemaError, read_capability
from sluice_fhir.scrape_plan import Plan
from sluice_fhir.sources import Source
from sluice_security.failure import SourceFailure

log = structlog.get_logger(__name__)

_CAPABILITY_SECONDS = 600.0


class JsonClient(Protocol):
    """Reads JSON from sources; `sluice_fhir.client.FhirClient` does."""

    async def get_json(self, source: Source, url: str, *, expected: str) -> FetchedResource:
        """Read the resource at an absolute URL on the source, or raise `SourceFailure`."""


class SourceReader:
    """Reads from one source: a `sluice_fhir.scrape.Reader`."""

    def __init__(self, client: JsonClient, source: Source) -> None:
        self._client = client
        self._source = source

    async def read(self, url: str, expected: str) -> bytes:
        """See `Reader.read`."""
        return (await self._client.get_json(self._source, url, expected=expected)).body


class SourceSchemas:
    """Chooses the schema of each source, asking a source for its CapabilityStatement where that decides.

    Parameters
    ----------
    schemas
        All there are.
    clock
        Seconds, of any origin.
    """

    def __init__(
        self,
        schemas: SchemaSet,
        client: JsonClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schemas = schemas
        self._client = client
        self._known: SharedReads[Capability] = SharedReads(ttl=_CAPABILITY_SECONDS, clock=clock)
        self._warned: set[tuple[str, int]] = set()

    async def plan(self, source: Source, *, settle: bool = False) -> Plan:
        """Give the plan for a source's documents.

        A choice that does not exist (any more) is logged once, and then the schema that matches is used:
        metadata of another kind is better than a document that cannot come.

        Parameters
        ----------
        settle
            Do without a CapabilityStatement that cannot be read now, instead of raising.

        Raises
        ------
        SourceFailure
            It could not be read, but may be later (`retry` is true).
        """
        if source.scrape_schema:
            try:
                return self._schemas.get(source.scrape_schema)
            except UnknownSchemaError:
                self._warn(source)
                source = msgspec.structs.replace(source, scrape_schema=None)
        if not self._schemas.needs_capability(source):
            return self._schemas.for_source(source)
        return self._schemas.for_source(source, await self._capability(source, settle))

    async def close(self) -> None:
        """Stop what is being read."""
        await self._known.close()

    def _warn(self, source: Source) -> None:
        if (source.id, source.revision) not in self._warned:
            self._warned.add((source.id, source.revision))
            log.warning("unknown scrape schema", source=source.id, schema=source.scrape_schema)

    async def _capability(self, source: Source, settle: bool) -> Capability:
        if source.software or source.fhir_version:
            return Capability(source.software, source.fhir_version)
        try:
            return await self._known.get((source.id, source.revision), lambda: self._ask(source))
        except SourceFailure:
            if not settle:
                raise
            return Capability()

    async def _ask(self, source: Source) -> tuple[Capability, int]:
        url = f"{source.base_url}/metadata"
        try:
            found = await self._client.get_json(source, url, expected="CapabilityStatement")
        except SourceFailure as failure:
            if failure.retry:
                raise
            return Capability(), 0
        return read_capability(found.body), 0
