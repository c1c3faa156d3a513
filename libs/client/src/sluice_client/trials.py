"""Looking before importing: what an import would do, and what metadata a document would get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from sluice_client.api import Api
from sluice_client.importing import MOST_ITEMS, chunks, placed
from sluice_client.jobs import ADVANCE
from sluice_client.models import ConflictResolution, ImportItem, ImportRequest, Page

_DRY_RUN = "/v2/bulk/fhir/actions/dry-run"
_SCHEMAS = "/v2/fhir/scrape-schemas"


class Forecast(Struct, frozen=True, kw_only=True):
    """What would happen to an item, by its position: `created`, `renamed`, `replaced` or `skipped`.

    `unknown` where the file's name comes from the document, which is not read for this. `name` is what the
    file would be called, `conflicts_with` the id of what has that name now.
    """

    item: int
    outcome: str
    name: str | None = None
    conflicts_with: str | None = None


class _DryRun(Struct):
    items: list[Forecast]


class ScrapeKey(Struct, frozen=True, kw_only=True):
    """A metadata key that a scrape schema makes."""

    key: str
    type: str
    required: bool = False
    description: str | None = None


class ScrapeSchema(Struct, frozen=True, kw_only=True):
    """What metadata is made of the documents of one kind of source."""

    name: str
    version: str | int
    title: str | None = None
    description: str | None = None
    follows: list[str] = field(default_factory=list)
    keys: list[ScrapeKey] = field(default_factory=list)


class TrialWarning(Struct, frozen=True, kw_only=True):
    """Something to know: a required key without a value, or a resource that could not be read."""

    code: str
    key: str | None = None
    follow: str | None = None


class Trial(Struct, frozen=True, kw_only=True):
    """What an import of one document would yield: `schema` is the one that was used."""

    schema: str
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: list[TrialWarning] = field(default_factory=list)


class TrialCalls(Api):
    """What is about looking before importing."""

    async def check_import(
        self,
        items: Sequence[ImportItem | str],
        *,
        project: str | None = None,
        parent: str | None = None,
        conflict_resolution: ConflictResolution | None = None,
    ) -> list[Forecast]:
        """Say what importing would do as things are now, and do nothing; takes what an import takes.

        Raises
        ------
        ApiError
            An import of these would be refused, for the same reasons.
        """
        made = placed(items, project, parent)
        found: list[Forecast] = []
        for number, part in enumerate(chunks(made, MOST_ITEMS)):
            request = ImportRequest(items=part, conflict_resolution=conflict_resolution)
            told = await self.call("POST", _DRY_RUN, _DryRun, body=request, headers=ADVANCE)
            found += [replace(each, item=each.item + number * MOST_ITEMS) for each in told.items]
        return found

    async def scrape_schemas(self) -> list[ScrapeSchema]:
        """List the schemas that say what metadata is made of a document."""
        return (await self.get(_SCHEMAS, Page[ScrapeSchema])).items

    async def try_scrape_schema(
        self, document: str, *, schema: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Trial:
        """Say what metadata a document would get, and import nothing.

        Parameters
        ----------
        document
            The DocumentReference's address, at a registered source.
        schema
            `name` or `name@version`; the one that fits the source without it.
        metadata
            What an import would give with the item.
        """
        wanted = {"fhir_document_reference": document, "schema": schema, "metadata": metadata}
        body = {name: value for name, value in wanted.items() if value is not None}
        return await self.call("POST", f"{_SCHEMAS}/actions/dry-run", Trial, body=body)
