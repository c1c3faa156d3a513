"""Scrape schemas: which there are, and trying them."""

from __future__ import annotations

from sluice_gateway.models.base import Listed
from sluice_gateway.models.scrape import SchemaShown, Trial, TrialRequest
from sluice_gateway.routing import Answer, Call, Route

TAG = "Scrape schemas"
SCOPE = "bulk/import"
LIST = "/v2/fhir/scrape-schemas"


async def list_scrape_schemas(call: Call) -> Answer:
    """List the schemas that say what metadata is made of a document."""
    return Answer(call.gateway.trials.list())


async def try_scrape_schema(call: Call) -> Answer:
    """Show what a document would yield, and what was read for it, without importing it.

    The document is read from its source at once, so this counts as a bulk request.
    """
    return Answer(await call.gateway.trials.run(call.principal, call.body))


ROUTES = (
    Route("GET", LIST, list_scrape_schemas, "List scrape schemas", TAG, {200: Listed[SchemaShown]}, SCOPE),
    Route(
        "POST",
        LIST + "/actions/dry-run",
        try_scrape_schema,
        "Try a scrape schema",
        TAG,
        {200: Trial},
        SCOPE,
        body=TrialRequest,
        counted=True,
        errors=(422, 502, 504),
    ),
)
