"""Declaring an operation below `/fhir`: a `Route` like any other, with what FHIR has for all of them.

    ROUTES = (
        fhir_route("GET", "/metadata", get_capabilities, "Get the CapabilityStatement", TAG, scope=None),
        fhir_route("GET", "/Group/{id}", read_group, "Read a Group", TAG, errors=(404,)),
    )

Tokens come as `Authorization: Bearer` only; a body may be `application/fhir+json` or `application/json`; an
`Answer` is `application/fhir+json`; errors are OperationOutcomes (`sluice_gateway.fhir.outcomes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from sluice_gateway.fhir.asynchronous import Told
from sluice_gateway.fhir.outcomes import BASE, FHIR_JSON
from sluice_gateway.routing import JSON, Handler, Route


def fhir_route(
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    tag: str,
    answers: Mapping[int, Any] | None = None,
    *,
    scope: str | None = "",
    media: str = FHIR_JSON,
    **more: Any,
) -> Route:
    """Declare an operation.

    Parameters
    ----------
    path
        Below `/fhir`.
    answers
        Type by success status; `dict` stands for any resource. By default a resource with 200.
    scope
        As a `Route`'s; most operations take any token (the empty scope) and look at its SMART scopes.
    media
        Content type of a success answer.
    more
        Other fields of `Route`.
    """
    return Route(
        method,
        BASE + path,
        handler,
        summary,
        tag,
        {200: dict} if answers is None else answers,
        scope,
        media=media,
        **more,
    )


def poll_response(told: Told) -> web.Response:
    """Turn what a poll is answered into its response."""
    if told.manifest is None:
        return web.Response(status=told.status, headers=told.headers)
    body = msgspec.json.encode(told.manifest)
    return web.Response(status=told.status, body=body, content_type=JSON, headers=told.headers)
