"""The OpenAPI 3.1 document of an API.

A service says what its operations are (`Operation`); how that is written is known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic.json_schema import JsonSchemaMode

from sluice_openapi.schemas import Json, Schemas, Use

_PLAIN: Mapping[Any, Json] = {str: {"type": "string"}, dict: {"type": "object"}, bytes: {}}


@dataclass(frozen=True, slots=True)
class Content:
    """A body.

    Parameters
    ----------
    kinds
        What it is, one of these: types as of `Schemas`, or `dict` for any object, `str` for text, `bytes`.
    media
        The content types it may have.
    examples
        By what they show; a single one needs no name.
    """

    kinds: tuple[Any, ...]
    media: tuple[str, ...]
    examples: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer with this status: the names of its header fields, and what it may be."""

    status: int
    headers: Sequence[str] = ()
    contents: tuple[Content, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation.

    Parameters
    ----------
    method, path
        As of the router.
    name, summary, about, tag
        Its id, a few words, more of them, and what it belongs to.
    security
        What may prove who asks, one of these; empty: it is public.
    parameters
        As OpenAPI writes them.
    body, required
        What it takes, and whether it must be there.
    answers
        When all goes well.
    errors
        The names of the API's shared answers, by status.
    """

    method: str
    path: str
    name: str
    summary: str
    about: str
    tag: str
    security: Sequence[Json] = ()
    parameters: Sequence[Json] = ()
    body: Content | None = None
    required: bool = True
    answers: Sequence[Response] = ()
    errors: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """An API.

    Parameters
    ----------
    info, server
        The document's `info`, and where the paths are, from where the document is.
    operations
        In the order of the document.
    shared
        Answers that several operations give, by name.
    headers
        Header fields of answers: a JSON type and what it says.
    security
        Ways to prove who asks, by name.
    """

    info: Json
    server: str
    operations: Sequence[Operation]
    shared: Mapping[str, Response]
    headers: Mapping[str, tuple[str, str]]
    security: Mapping[str, Json]


def path_parameters(path: str) -> list[Json]:
    """Give the parameters that a path has."""
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]


def document(api: Api) -> Json:
    """Make the document.

    Raises
    ------
    ValueError
        Two types are called the same.
    """
    schemas = Schemas(_uses(api))
    paths: Json = {}
    for each in api.operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, schemas)
    headers = {
        name: {"description": about, "schema": {"type": kind}} for name, (kind, about) in api.headers.items()
    }
    return {
        "openapi": "3.1.0",
        "info": api.info,
        "servers": [{"url": api.server}],
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in api.operations)],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.shared.items())),
            "responses": {name: _response(each, schemas) for name, each in api.shared.items()},
            "headers": headers,
            "securitySchemes": dict(api.security),
        },
    }


def written(api: Api) -> str:
    """Give the document as the text that is kept and served."""
    return json.dumps(document(api), indent=2, ensure_ascii=False) + "\n"


def _uses(api: Api) -> Iterator[Use]:
    taken = [each.body for each in api.operations if each.body is not None]
    responses = [*api.shared.values(), *(answer for each in api.operations for answer in each.answers)]
    given = [content for each in responses for content in each.contents]
    modes: list[tuple[list[Content], JsonSchemaMode]] = [(given, "serialization"), (taken, "validation")]
    for contents, mode in modes:
        kinds = (kind for each in contents for kind in each.kinds)
        yield from ((kind, mode) for kind in kinds if kind not in _PLAIN)


def _operation(operation: Operation, schemas: Schemas) -> Json:
    shown: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": operation.about,
        "tags": [operation.tag],
        "security": list(operation.security),
    }
    if operation.parameters:
        shown["parameters"] = list(operation.parameters)
    if operation.body is not None:
        content = _content(operation.body, schemas, "validation")
        shown["requestBody"] = {"required": operation.required, "content": content}
    answers = {str(each.status): _response(each, schemas) for each in operation.answers}
    errors = {
        str(status): {"$ref": f"#/components/responses/{name}"} for status, name in operation.errors.items()
    }
    shown["responses"] = {**answers, **errors}
    return shown


def _response(response: Response, schemas: Schemas) -> Json:
    shown: Json = {
        "description": HTTPStatus(response.status).phrase,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in response.headers},
    }
    if response.contents:
        shown["content"] = {
            media: each
            for content in response.contents
            for media, each in _content(content, schemas, "serialization").items()
        }
    return shown


def _content(content: Content, schemas: Schemas, mode: JsonSchemaMode) -> Json:
    shown: Json = {}
    found = [_PLAIN[kind] if kind in _PLAIN else schemas.of(kind, mode) for kind in content.kinds]
    if content.kinds != (bytes,):
        shown["schema"] = found[0] if len(found) == 1 else {"anyOf": found}
    if len(content.examples) == 1:
        shown["example"] = next(iter(content.examples.values()))
    elif content.examples:
        shown["examples"] = {name: {"value": each} for name, each in content.examples.items()}
    return dict.fromkeys(content.media, shown)
