"""For downstream systems: what travels on Kafka, as an AsyncAPI document, as schemas and as a page."""

from __future__ import annotations

from functools import cache

from aiohttp import web

from sluice_contracts.asyncapi import document
from sluice_contracts.schemas import schemas
from sluice_gateway.message_page import page
from sluice_gateway.problems import not_found
from sluice_gateway.routing import Answer, Call, Route, as_json

TAG = "Operations"
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


@cache
def _made() -> tuple[bytes, str, dict[str, bytes]]:
    shown = document()
    return as_json(shown), page(shown), {name: as_json(schema) for name, schema in schemas().items()}


async def asyncapi(_call: Call) -> Answer:
    """Get the AsyncAPI 3.0 document of the topics on Kafka and the messages on them."""
    return Answer(_made()[0], headers={"Cache-Control": "no-cache"})


async def message_docs(_call: Call) -> web.Response:
    """Read about the topics on Kafka and the messages on them."""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return web.Response(text=_made()[1], content_type="text/html", charset="utf-8", headers=headers)


async def message_schema(call: Call) -> Answer:
    """Get the JSON Schema of a message: the one that an event's `ce_dataschema` names."""
    schema = _made()[2].get(call.path["name"])
    if schema is None:
        raise not_found("schema")
    return Answer(schema, headers={"Cache-Control": "no-cache"})


ROUTES = (
    Route("GET", "/asyncapi.json", asyncapi, "Messages on Kafka", TAG, {200: dict}),
    Route(
        "GET",
        "/docs/events",
        message_docs,
        "Documentation of messages on Kafka",
        TAG,
        {200: str},
        media="text/html",
    ),
    Route(
        "GET",
        "/schemas/messages/{name}.json",
        message_schema,
        "Schema of a message",
        TAG,
        {200: dict},
        errors=(404,),
        media="application/schema+json",
    ),
)
