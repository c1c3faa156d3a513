"""The OpenAPI 3.1 document, made from the same declarations that serve the requests.

`python -m sluice_gateway.openapi > schemas/openapi.json` writes the copy that is kept in the repository.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel

from sluice_fhir.operations import Taken
from sluice_gateway.fhir.outcomes import FHIR_JSON, Severity
from sluice_gateway.incoming import ADVANCE_HEADER
from sluice_gateway.models.base import ErrorBody
from sluice_gateway.routes import ROUTES
from sluice_gateway.routing import API, FAMILY_HEADER, JSON, Route
from sluice_openapi.document import Api, Content, Operation, Response, path_parameters, written
from sluice_openapi.schemas import REF, Json

_ABOUT = """\
Imports FHIR documents in bulk into projects and serves the files they became; exports resources in bulk.

Every request carries an access token of the authorization server, as `Authorization: Bearer` or as
`X-SBG-Auth-Token`. [The SMART configuration](/fhir/.well-known/smart-configuration) says where to sign up
(`registration_endpoint`, RFC 7591) and where tokens come from (`token_endpoint`, grant
`client_credentials`; ask for the scopes `bulk/import files/read files/write` to import).

Errors of every kind have one shape: `status`, `code`, `message`, `more_info`.
Below `/fhir` the token comes as `Authorization: Bearer` only, and errors are FHIR OperationOutcomes.
Bulk requests are limited per client; each answer tells what is left.
What answers GET answers HEAD, but streams and what begins a job.
What the authorization server does is [told apart](/docs/authorization).
What happens to jobs can be followed on Kafka as well: [its messages](/docs/events).
"""
_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An OAuth 2.0 access token (RFC 6750, RFC 9068).",
    },
    "family": {
        "type": "apiKey",
        "in": "header",
        "name": FAMILY_HEADER,
        "description": "The same access token, as clients of the Seven Bridges family send it.",
    },
}
_QUOTA_HEADERS = {
    "X-RateLimit-Limit": ("integer", "Bulk requests that the client may make in five minutes."),
    "X-RateLimit-Remaining": (
        "integer",
        "How many of them are left; all of them where the answer is to no client that is known.",
    ),
    "X-RateLimit-Reset": ("integer", "From when more are free, in epoch seconds."),
    "RateLimit": ("string", "The same, as the IETF's draft has it."),
    "RateLimit-Policy": ("string", "The limit, as the IETF's draft has it."),
}
_OTHER_HEADERS = {
    "X-Request-Id": ("string", "Names the request; tell it to the operators when something fails."),
    "X-Total-Matching-Query": ("integer", "How many entries the whole list has."),
    "Location": ("string", "The address of what was made."),
    "Retry-After": ("integer", "How many seconds to wait."),
    "WWW-Authenticate": ("string", "What is wrong with the token (RFC 6750)."),
}


class _Outcome:
    """What goes wrong below `/fhir` is told by (R4)."""

    name = "OperationOutcome"

    def schema(self) -> Json:
        """Give its schema, as far as it is used here."""
        text = {"type": "string"}
        issue = {
            "type": "object",
            "properties": {
                "severity": {"enum": list(get_args(Severity))},
                "code": {**text, "description": "Of R4's value set issue-type."},
                "details": {"type": "object", "properties": {"text": text}, "required": ["text"]},
                "diagnostics": {**text, "description": "What is wrong, and what to do about it."},
                "expression": {
                    "type": "array",
                    "items": text,
                    "description": "Where: FHIRPath, or `http.` and the name of a header or query parameter.",
                },
            },
            "required": ["severity", "code", "details", "diagnostics"],
        }
        return {
            "type": "object",
            "description": "What is wrong, all of it (R4, OperationOutcome).",
            "properties": {
                "resourceType": {"const": self.name},
                "text": {"type": "object"},
                "issue": {"type": "array", "items": issue, "minItems": 1},
            },
            "required": ["resourceType", "issue"],
        }


_OUTCOME = _Outcome()


def _success_headers(route: Route, status: int, kind: Any) -> list[str]:
    names = ["X-Request-Id"]
    if route.path.startswith(API):
        names += _QUOTA_HEADERS
    if isinstance(kind, type) and issubclass(kind, BaseModel) and "links" in kind.model_fields:
        names.append("X-Total-Matching-Query")
    if status == 201 or route.idempotent:
        names.append("Location")
    return names


def _success(route: Route) -> list[Response]:
    return [
        Response(
            status,
            _success_headers(route, status, kind),
            () if kind is None else (Content((kind,), (route.media,)),),
        )
        for status, kind in route.answers.items()
    ]


def error_statuses(route: Route) -> list[int]:
    """Give the error statuses that an operation can answer with, in order."""
    statuses = set(route.errors) | {500}
    if route.scope is not None:
        statuses |= {400, 401, 503}
    if route.scope:
        statuses.add(403)
    if route.body is not None:
        statuses |= {400, 408, 413, 415}
    if route.query is not None:
        statuses.add(400)
    if route.counted:
        statuses.add(429)
    return sorted(statuses - route.answers.keys())


def _parameters(route: Route) -> list[Json]:
    found = path_parameters(route.path)
    if route.query is not None:
        schema = route.query.model_json_schema(ref_template=REF)
        for name, shape in schema["properties"].items():
            shown = {key: value for key, value in shape.items() if key not in ("title", "description")}
            if name == "metadata":
                name, shown = "metadata.{key}", {"type": "array", "items": {"type": "string"}}
            found.append(
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "description": shape.get("description", ""),
                    "schema": shown,
                }
            )
    found += [dict(each) for each in route.parameters]
    if route.advance:
        found.append(
            {
                "name": ADVANCE_HEADER,
                "in": "header",
                "required": True,
                "description": "The API is used under advance access.",
                "schema": {"type": "string", "enum": ["Advance"]},
            }
        )
    if route.idempotent:
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Makes repeats safe: the same key with the same request is the same job.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    return found


def _schemes(route: Route) -> Sequence[str]:
    return ["bearer"] if route.fhir else list(_SECURITY)


def _body(route: Route) -> Content:
    kinds = route.body if isinstance(route.body, tuple) else (route.body,)
    examples = {kind.name: kind.example() for kind in kinds if isinstance(kind, Taken)}
    if route.example is not None:
        examples["usual"] = route.example
    return Content(kinds, route.takes, examples)


def _operation(route: Route) -> Operation:
    kind = "fhir-" if route.fhir else ""
    scopes = [route.scope] if route.scope else []
    return Operation(
        method=route.method,
        path=route.path,
        name=route.name,
        summary=route.summary,
        about=inspect.cleandoc(route.handler.__doc__ or ""),
        tag=route.tag,
        security=[] if route.scope is None else [{scheme: scopes} for scheme in _schemes(route)],
        parameters=_parameters(route),
        body=None if route.body is None else _body(route),
        required=not route.fhir,
        answers=_success(route),
        errors={status: f"{kind}{status}" for status in error_statuses(route)},
    )


def _error_response(status: int, *, fhir: bool) -> Response:
    names = ["X-Request-Id", *_QUOTA_HEADERS]
    if status in (429, 503):
        names.append("Retry-After")
    if status in (401, 403):
        names.append("WWW-Authenticate")
    content = Content((_OUTCOME,), (FHIR_JSON,)) if fhir else Content((ErrorBody,), (JSON,))
    return Response(status, names, (content,))


def api(routes: Sequence[Route] = ROUTES) -> Api:
    """Say what these routes are."""
    statuses = sorted({(route.fhir, status) for route in routes for status in error_statuses(route)})
    return Api(
        info={
            "title": "Sluice",
            "version": "2.0.0",
            "summary": "Bulk import of FHIR documents, and bulk export of FHIR data.",
            "description": _ABOUT,
        },
        server="/",
        operations=[_operation(route) for route in routes],
        shared={
            f"{'fhir-' if fhir else ''}{status}": _error_response(status, fhir=fhir)
            for fhir, status in statuses
        },
        headers={**_QUOTA_HEADERS, **_OTHER_HEADERS},
        security=_SECURITY,
    )


if __name__ == "__main__":
    sys.stdout.write(written(api()))
