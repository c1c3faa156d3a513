"""Source servers: the operators' part of the API."""

from __future__ import annotations

from sluice_fhir.sources import SourceChange, SourceDraft
from sluice_gateway.models.base import Listed
from sluice_gateway.models.sources import KeySet, SourceHealth, SourceShown
from sluice_gateway.routing import Answer, Call, Route

TAG = "Sources"
SCOPE = "ops/sources"
LIST = "/v2/fhir/sources"
ITEM = LIST + "/{id}"
KEYS = "/v2/fhir/submissions/jwks.json"


async def register_source(call: Call) -> Answer:
    """Register a FHIR server that documents may be imported from.

    Nothing is ever read from a server that is not registered. Secrets are kept sealed and never shown.
    """
    source = await call.gateway.sources.create(call.body)
    return Answer(source, 201, {"Location": source.href})


async def list_sources(call: Call) -> Answer:
    """List all sources."""
    return Answer(await call.gateway.sources.list())


async def get_source(call: Call) -> Answer:
    """Get a source."""
    return Answer(await call.gateway.sources.get(call.path["id"]))


async def change_source(call: Call) -> Answer:
    """Change a source; its base URL stays."""
    return Answer(await call.gateway.sources.change(call.path["id"], call.body))


async def remove_source(call: Call) -> Answer:
    """Remove a source; items that are still to be read from it fail."""
    await call.gateway.sources.delete(call.path["id"])
    return Answer(status=204)


async def get_source_health(call: Call) -> Answer:
    """Tell how a source does: what it bears now, its recent answers, and until when it is left alone.

    All processes that call it learn that together, and share what it bears.
    """
    return Answer(await call.gateway.sources.health(call.path["id"]))


async def get_source_keys(call: Call) -> Answer:
    """Get the public keys that a source checks our assertions with (SMART Backend Services)."""
    return Answer(await call.gateway.sources.keys(call.path["id"]))


async def get_submission_keys(call: Call) -> Answer:
    """Get the public key that submitters encrypt their files' keys for (`$bulk-submit`)."""
    return Answer(call.gateway.bulk_submit.access.keys())


ROUTES = (
    Route(
        "POST",
        LIST,
        register_source,
        "Register a source",
        TAG,
        {201: SourceShown},
        SCOPE,
        body=SourceDraft,
        errors=(409,),
    ),
    Route("GET", LIST, list_sources, "List sources", TAG, {200: Listed[SourceShown]}, SCOPE),
    Route("GET", ITEM, get_source, "Get a source", TAG, {200: SourceShown}, SCOPE, errors=(404,)),
    Route(
        "PATCH",
        ITEM,
        change_source,
        "Change a source",
        TAG,
        {200: SourceShown},
        SCOPE,
        body=SourceChange,
        errors=(404,),
    ),
    Route("DELETE", ITEM, remove_source, "Remove a source", TAG, {204: None}, SCOPE, errors=(404,)),
    Route(
        "GET",
        ITEM + "/health",
        get_source_health,
        "See how a source does",
        TAG,
        {200: SourceHealth},
        SCOPE,
        errors=(404,),
    ),
    Route(
        "GET", ITEM + "/jwks.json", get_source_keys, "Get a source's keys", TAG, {200: KeySet}, errors=(404,)
    ),
    Route("GET", KEYS, get_submission_keys, "Get the key for submissions", TAG, {200: KeySet}),
)
