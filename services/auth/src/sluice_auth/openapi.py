"""The OpenAPI 3.1 document, made from the same declarations that serve the requests.

`python -m sluice_auth.openapi > schemas/openapi-auth.json` writes the copy that is kept in the repository.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence

import msgspec

from sluice_auth.errors import Refusal
from sluice_auth.handlers import authorize, consents, discovery, registration, token
from sluice_auth.handlers.routing import Proof, Route
from sluice_openapi.document import Api, Content, Operation, Response, path_parameters, written
from sluice_openapi.schemas import Json

ROUTES = (
    *registration.ROUTES,
    *token.ROUTES,
    *authorize.ROUTES,
    *consents.ROUTES,
    *discovery.ROUTES,
    *discovery.DOCUMENT_ROUTES,
)
"""All operations but those about the process's health, which are not for clients."""

JSON, FORM, HTML = "application/json", "application/x-www-form-urlencoded", "text/html"
_ABOUT = """\
Where clients sign up and get their access tokens: OAuth 2.0 (RFC 6749) with what each operation
names, and SMART App Launch 2.2 with Backend Services.

Forms are strict: a parameter is given once, in the body and not in the address; one without a value counts as
left out. Whoever fails to prove who they are too often has to wait (429).
"""
_SECURITY: dict[str, Json] = {
    "client": {
        "type": "http",
        "scheme": "basic",
        "description": "The client's id and secret, each form-encoded first (RFC 6749 section 2.3.1).",
    },
    "registration": {
        "type": "http",
        "scheme": "bearer",
        "description": "The registration access token that a client was given when it signed up (RFC 7592).",
    },
    "initial": {
        "type": "http",
        "scheme": "bearer",
        "description": "An initial access token from the operators, where they ask for one (RFC 7591).",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-sluice-session",
        "description": "A signed-in user's browser.",
    },
}
# With an empty one, it may be shown otherwise (in the form), or need not be.
_PROOFS: dict[Proof, list[Json]] = {
    Proof.NONE: [],
    Proof.CLIENT: [{"client": []}, {}],
    Proof.REGISTRATION: [{"registration": []}],
    Proof.SIGN_UP: [{}, {"initial": []}],
    Proof.SESSION: [{"session": []}, {}],
}
_HEADERS = {
    "Location": ("string", "Where the browser is sent."),
    "Retry-After": ("integer", "How many seconds to wait."),
    "WWW-Authenticate": ("string", "What would prove who asks."),
}
_ALWAYS = (400, 500, 503)
_TO_PROVE = {Proof.CLIENT: (401, 429), Proof.REGISTRATION: (401, 429)}


def error_statuses(route: Route) -> list[int]:
    """Give the error statuses that an operation can answer with, in order."""
    sized = () if route.form is None and route.body is None else (413,)
    return sorted({*_ALWAYS, *_TO_PROVE.get(route.proof, ()), *sized, *route.errors})


def _query(route: Route) -> list[Json]:
    if route.query is None:
        return []
    _, named = msgspec.json.schema_components([route.query], ref_template="{name}")
    properties = named[route.query.__name__]["properties"]
    required = {each.encode_name for each in msgspec.structs.fields(route.query) if each.required}
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key != "description"},
        }
        for name, schema in properties.items()
    ]


def _body(route: Route) -> Content | None:
    if route.form is not None:
        return Content((route.form,), (FORM,), route.examples)
    return None if route.body is None else Content((route.body,), (JSON,), route.examples)


def _answer(status: int, kind: object) -> Response:
    media = HTML if kind is str else JSON
    return Response(
        status, ["Location"] if status == 303 else [], () if kind is None else (Content((kind,), (media,)),)
    )


def _operation(route: Route) -> Operation:
    return Operation(
        method=route.method,
        path=route.path,
        name=route.name,
        summary=route.summary,
        about=inspect.cleandoc(route.handler.__doc__ or ""),
        tag=route.tag,
        security=_PROOFS[route.proof],
        parameters=[*path_parameters(route.path), *_query(route)],
        body=_body(route),
        answers=[_answer(status, kind) for status, kind in route.answers.items()],
        errors={status: f"{'page-' if route.page else ''}{status}" for status in error_statuses(route)},
    )


def _error(status: int, *, page: bool) -> Response:
    told = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}
    contents = [Content((Refusal,), (JSON,))]
    if page:
        # What is found out before a page is at work is told as everywhere.
        contents.append(Content((str,), (HTML,)))
    return Response(status, told.get(status, []), tuple(contents))


def api(routes: Sequence[Route] = ROUTES) -> Api:
    """Say what these routes are."""
    statuses = sorted({(route.page, status) for route in routes for status in error_statuses(route)})
    return Api(
        info={
            "title": "Sluice's authorization server",
            "version": "2.0.0",
            "summary": "Sign-up of clients, access tokens, users' consent.",
            "description": _ABOUT,
        },
        # From the document's own address, which may be below a path.
        server="..",
        operations=[_operation(route) for route in routes],
        shared={f"{'page-' if page else ''}{status}": _error(status, page=page) for page, status in statuses},
        headers=_HEADERS,
        security=_SECURITY,
    )


if __name__ == "__main__":
    sys.stdout.write(written(api()))
