"""Trying scrape schemas on documents, without importing them."""

from __future__ import annotations

import asyncio

import msgspec

from sluice_contracts.errors import ERROR_TEXTS
from sluice_fhir.client import FhirClient
from sluice_fhir.scrape_dry_run import NotADocumentError, dry_run
from sluice_fhir.scrape_match import Capability, SchemaSet, UnknownSchemaError, read_capability
from sluice_fhir.scrape_plan import Plan
from sluice_fhir.sources import Source
from sluice_gateway.models.base import Listed
from sluice_gateway.models.scrape import SchemaShown, Trial, TrialRequest
from sluice_gateway.problems import FieldProblem, Problem, invalid
from sluice_gateway.quotas import Quotas
from sluice_gateway.source_matching import SourceMatcher, no_source, source_for, unregistered
from sluice_security.failure import SourceFailure
from sluice_security.tokens import Principal

_AT_ONCE = 8
_PATIENCE = 20.0


class _Reader:
    """Reads from one source, as the scraper service does."""

    def __init__(self, client: FhirClient, source: Source) -> None:
        self._client = client
        self._source = source

    async def read(self, url: str, expected: str) -> bytes:
        """Give the body of the resource at `url`; raises SourceFailure."""
        return (await self._client.get_json(self._source, url, expected=expected)).body


class ScrapeTrials:
    """What schemas there are, and what they make of a document.

    Parameters
    ----------
    schemas
        All there are.
    sources
        Which servers are registered; nothing is read from any other.
    client
        Reads from them.
    quotas
        A trial counts as a bulk request: it makes this server ask another one.
    """

    def __init__(
        self, schemas: SchemaSet, sources: SourceMatcher, client: FhirClient, quotas: Quotas
    ) -> None:
        self._schemas = schemas
        self._sources = sources
        self._client = client
        self._quotas = quotas
        self._free = asyncio.Semaphore(_AT_ONCE)

    def list(self) -> Listed[SchemaShown]:
        """Give the current schemas, by name."""
        return Listed[SchemaShown](
            items=[SchemaShown.model_validate(shown) for shown in self._schemas.listing()]
        )

    async def run(self, who: Principal, asked: TrialRequest) -> Trial:
        """Say what an import of the document would yield.

        Raises
        ------
        Problem
            400: no such schema, or no registered source; 422: the source has no such document; 429; 502: it
            cannot give it now; 504: it took too long.
        """
        await self._quotas.take(who.client)
        source = await source_for(self._sources, asked.fhir_document_reference, who.client)
        if source is None:
            raise no_source([unregistered("fhir_document_reference")])
        try:
            async with asyncio.timeout(_PATIENCE), self._free:
                return await self._try(source, asked)
        except TimeoutError:
            raise Problem(504, "source_timeout", "The source took too long.", "Try again later.") from None
        except SourceFailure as failure:
            text = ERROR_TEXTS[failure.code]
            # Only what may pass is a server's error: clients repeat those by themselves.
            status = 502 if failure.retry else 422
            raise Problem(status, failure.code.value, text.message, text.more_info) from None

    async def _try(self, source: Source, asked: TrialRequest) -> Trial:
        reader = _Reader(self._client, source)
        plan = await self._plan(source, reader, asked.schema_name)
        try:
            found = await dry_run(
                plan, reader, source.base_url, asked.fhir_document_reference, metadata=asked.metadata
            )
        except NotADocumentError:
            raise Problem(
                422, "wrong_resource", "What the source gave is no DocumentReference.", ""
            ) from None
        return Trial.model_validate(msgspec.to_builtins(found))

    async def _plan(self, source: Source, reader: _Reader, schema: str | None) -> Plan:
        try:
            if schema is not None:
                return self._schemas.get(schema)
            if not self._schemas.needs_capability(source):
                return self._schemas.for_source(source)
            capability = Capability(source.software, source.fhir_version)
            if capability == Capability():
                body = await reader.read(f"{source.base_url}/metadata", "CapabilityStatement")
                capability = read_capability(body)
            return self._schemas.for_source(source, capability)
        except UnknownSchemaError:
            raise invalid([FieldProblem("schema", "is not a scrape schema that there is")]) from None
