"""The OpenAPI 3.1 document, made from the same declarations that serve the requests.

`python -m sluice_gateway.openapi > schemas/openapi.json` writes the copy that is kept in the repository.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from sluice_gateway.bodies import is_struct
from sluice_gateway.fhir.outcomes import FHIR_JSON
from sluice_gateway.incoming import ADVANCE_HEADER
from sluice_gateway.models.base import ErrorBody
from sluice_gateway.routes import ROUTES
from sluice_gateway.routing import FAMILY_HEADER, JSON, Route

REF = "#/components/schemas/{model}"
_ABOUT = """\
Imports FHIR documents in bulk into projects and serves the files they became; exports resources in bulk.

Every request carries an access token of the authorization server, as `Authorization: Bearer` or as
`X-SBG-Auth-Token`. [The SMART configuration](/fhir/.well-known/smart-configuration) says where to sign up
(`registration_endpoint`, RFC 7591) and where tokens come from (`token_endpoint`, grant
`client_credentials`; ask for the scopes `bulk/import files/read files/write` to import).

Errors of every kind have one shape: `status`, `code`, `message`, `more_info`.
Below `/fhir` the token comes as `Authorization: Bearer` only, and errors are FHIR OperationOutcomes.
Bulk requests are limited per client; each answer tells what is left.
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
    "X-RateLimit-Remaining": ("integer", "How many of them are left."),
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
Json = dict[str, Any]


class _Schemas:
    """Collects the schemas of all types, each under one name."""

    def __init__(self, routes: Sequence[Route]) -> None:
        wanted: list[tuple[Any, JsonSchemaMode]] = [(ErrorBody, "serialization")]
        structs: list[Any] = []
        for route in routes:
            if is_struct(route.body):
                structs.append(route.body)
            elif route.body is not None:
                wanted.append((route.body, "validation"))
            wanted += [(kind, "serialization") for kind in route.answers.values() if _modelled(kind)]
        distinct = list(dict.fromkeys((id(kind), mode) for kind, mode in wanted))
        kinds = {id(kind): kind for kind, _ in wanted}
        found, shared = TypeAdapter.json_schemas(
            [(key, mode, TypeAdapter(kinds[key])) for key, mode in distinct], ref_template=REF
        )
        self._models = found
        self.shared: Json = dict(shared.get("$defs", {}))
        shown, more = msgspec.json.schema_components(structs, ref_template=REF.replace("model", "name"))
        self._structs = dict(zip(map(id, structs), shown, strict=True))
        if clash := self.shared.keys() & more.keys():
            raise ValueError(f"two types are called {sorted(clash)}")
        self.shared.update(more)

    def of(self, kind: Any, mode: JsonSchemaMode) -> Json:
        """Give the schema of a type as a request (`validation`) or an answer (`serialization`)."""
        return self._structs[id(kind)] if is_struct(kind) else self._models[id(kind), mode]


def _modelled(kind: Any) -> bool:
    return kind is not None and kind not in (str, bytes, dict)


def _headers(names: Sequence[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _success_headers(route: Route, status: int, kind: Any) -> list[str]:
    names = ["X-Request-Id"]
    if route.scope is not None:
        names += _QUOTA_HEADERS
    if isinstance(kind, type) and issubclass(kind, BaseModel) and "links" in kind.model_fields:
        names.append("X-Total-Matching-Query")
    if status == 201 or route.idempotent:
        names.append("Location")
    return names


def _success(route: Route, schemas: _Schemas) -> Json:
    responses: Json = {}
    for status, kind in route.answers.items():
        response: Json = {
            "description": HTTPStatus(status).phrase,
            "headers": _headers(_success_headers(route, status, kind)),
        }
        if kind is bytes:
            response["content"] = {route.media: {}}
        elif kind is str:
            response["content"] = {route.media: {"schema": {"type": "string"}}}
        elif kind is dict:
            response["content"] = {route.media: {"schema": {"type": "object"}}}
        elif kind is not None:
            response["content"] = {route.media: {"schema": schemas.of(kind, "serialization")}}
        responses[str(status)] = response
    return responses


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
    found: list[Json] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
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


def _operation(route: Route, schemas: _Schemas) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "description": inspect.cleandoc(route.handler.__doc__ or ""),
        "tags": [route.tag],
        "security": []
        if route.scope is None
        else [{scheme: [route.scope] if route.scope else []} for scheme in _schemes(route)],
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not None:
        content: Json = {"schema": schemas.of(route.body, "validation")}
        if route.example is not None:
            content["example"] = route.example
        operation["requestBody"] = {
            "required": not route.fhir,
            "content": dict.fromkeys(route.takes, content),
        }
    kind = "fhir-" if route.fhir else ""
    errors = {
        str(status): {"$ref": f"#/components/responses/{kind}{status}"} for status in error_statuses(route)
    }
    operation["responses"] = {**_success(route, schemas), **errors}
    return operation


def _error_response(status: int, *, fhir: bool) -> Json:
    names = ["X-Request-Id", *_QUOTA_HEADERS]
    if status in (429, 503):
        names.append("Retry-After")
    if status in (401, 403):
        names.append("WWW-Authenticate")
    outcome: Json = {"type": "object", "description": "An OperationOutcome."}
    shown = outcome if fhir else {"$ref": REF.format(model="ErrorBody")}
    content = {FHIR_JSON if fhir else JSON: {"schema": shown}}
    return {"description": HTTPStatus(status).phrase, "headers": _headers(names), "content": content}


def document(routes: Sequence[Route] = ROUTES) -> Json:
    """Make the document of these routes."""
    schemas = _Schemas(routes)
    paths: Json = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    statuses = sorted({(route.fhir, status) for route in routes for status in error_statuses(route)})
    headers = {
        name: {"description": text, "schema": {"type": kind}}
        for name, (kind, text) in {**_QUOTA_HEADERS, **_OTHER_HEADERS}.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": "2.0.0",
            "summary": "Bulk import of FHIR documents, and bulk export of FHIR data.",
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.shared.items())),
            "responses": {
                f"{'fhir-' if fhir else ''}{status}": _error_response(status, fhir=fhir)
                for fhir, status in statuses
            },
            "headers": headers,
            "securitySchemes": _SECURITY,
        },
    }


def written(routes: Sequence[Route] = ROUTES) -> str:
    """Give the document as the text that is kept and served."""
    return json.dumps(document(routes), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(written())
