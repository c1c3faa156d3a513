"""Routes, declared once: what the router serves and what the OpenAPI document says come from the same line.

A handler is given a `Call` (who, what, with everything parsed) and gives an `Answer`. Everything a route
promises in its declaration (token, scope, header, body type, size) is enforced here, before the handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDictProxy
from pydantic import BaseModel

from sluice_gateway.authentication import authenticate, permit
from sluice_gateway.bodies import parser
from sluice_gateway.fhir.outcomes import ALIAS, BASE, FHIR_JSON, JSON_FHIR, below_fhir
from sluice_gateway.incoming import parsed_query, read_body, refuse_unclear, require_advance
from sluice_gateway.models.base import QueryModel
from sluice_gateway.problems import Problem
from sluice_gateway.time_limit import TimeLimit
from sluice_security.tokens import Principal

if TYPE_CHECKING:
    from sluice_gateway.wiring import Gateway

API = ("/v2", BASE, ALIAS)
"""Where the API is: what is answered there tells a client how much of its quota is left."""
FAMILY_HEADER = "X-SBG-Auth-Token"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
GATEWAY: web.AppKey[Gateway] = web.AppKey("gateway")
_WORK_SECONDS = 30.0
PRINCIPAL = web.RequestKey("principal", Principal)
STREAMING = web.RequestKey("streaming", bool)
"""Set once a handler has begun to send its answer itself."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, parsed.

    Parameters
    ----------
    gateway
        The services.
    request
        The request itself, for handlers that stream.
    path, query, body
        Path parameters; the query model; the body, as the route declares them.
    raw
        The body's bytes.
    who
        Whose token it carries; None on public routes.
    """

    gateway: Gateway
    request: web.Request
    path: Mapping[str, str]
    query: Any = None
    body: Any = None
    raw: bytes = b""
    who: Principal | None = None

    @property
    def principal(self) -> Principal:
        """Whose token the request carries."""
        if self.who is None:
            raise RuntimeError("a public route has no principal")
        return self.who

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """The request's header fields."""
        return self.request.headers


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives: a model (or JSON bytes), a status and header fields."""

    body: BaseModel | bytes | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Answer | web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Parameters
    ----------
    method, path
        As the router takes them.
    handler
        Its handler; the handler's name is the operation's id, its docstring the description.
    summary, tag
        For the document.
    answers
        Model by success status; None: no body.
    scope
        What the token must permit; empty: any token will do; None: the route is public.
    body, query
        Types that the request is parsed as; for Parameters what they may be (`sluice_fhir.operations`),
        or several of those.
    reads_body, form
        The handler parses the body itself, because it lists more problems than types can tell. The body is a
        form's fields, not JSON.
    large
        The body may be as large as the setting `bundle_limit` says, and takes longer to arrive.
    advance
        The advance-access header is required.
    idempotent
        The handler honours `Idempotency-Key`.
    counted
        A call counts against the client's quota.
    errors
        Statuses beyond those that every route of its kind can answer with.
    media
        Content type of a success answer.
    streams
        The handler sends the answer itself, for as long as that takes.
    example
        A body for the document.
    parameters
        Those of the document that the handler reads itself, for the same reason as a body.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    answers: Mapping[int, type[BaseModel] | Any | None]
    scope: str | None = None
    body: Any = None
    query: type[QueryModel] | None = None
    reads_body: bool = False
    form: bool = False
    large: bool = False
    advance: bool = False
    idempotent: bool = False
    counted: bool = False
    errors: tuple[int, ...] = ()
    media: str = JSON
    streams: bool = False
    example: Any = None
    parameters: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The operation's name, which is its handler's."""
        return str(getattr(self.handler, "__name__", ""))

    @property
    def fhir(self) -> bool:
        """Whether it is part of the FHIR API: its media types, its errors, `Authorization` only."""
        return below_fhir(self.path)

    @property
    def takes(self) -> tuple[str, ...]:
        """Content types that a request's body may have."""
        kinds = (FHIR_JSON, JSON, JSON_FHIR) if self.fhir else (JSON,)
        return (FORM,) if self.form else kinds


def as_json(value: Any) -> bytes:
    """Give plain JSON, for answers that are no model."""
    return msgspec.json.encode(value)


def as_response(answer: Answer, media: str = JSON) -> web.Response:
    """Turn an answer into the response that says it; `media` is the content type of its body."""
    body = answer.body
    if body is None:
        return web.Response(status=answer.status, headers=answer.headers)
    data = body if isinstance(body, bytes) else body.model_dump_json(by_alias=True).encode()
    return web.Response(status=answer.status, body=data, content_type=media, headers=answer.headers)


def endpoint(route: Route, gateway: Gateway) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Make what the router calls for a route."""
    parse = parser(route.body) if route.body is not None and not route.reads_body else None
    limit = gateway.settings.bundle_limit if route.large else gateway.settings.body_limit
    in_time = TimeLimit(_WORK_SECONDS)
    fhir = route.fhir

    async def serve(request: web.Request) -> web.StreamResponse:
        who = None
        if route.scope is not None:
            who = await authenticate(
                gateway.verifier,
                request.headers.getall(hdrs.AUTHORIZATION, ()),
                () if fhir else request.headers.getall(FAMILY_HEADER, ()),
            )
            request[PRINCIPAL] = who
            gateway.auditing.asked_by(request, who)
            if route.scope:
                permit(who, route.scope)
        if route.advance:
            require_advance(request)
        refuse_unclear(request)
        query = parsed_query(route.query, request) if route.query is not None else None
        raw = b""
        # An operation of FHIR's that takes no parameters is invoked without a body (R4, 3.2.0.1.2).
        if route.body is not None and (request.can_read_body or not fhir):
            raw = await read_body(request, limit, route.takes, large=route.large)
        body = parse(raw) if parse is not None else None
        call = Call(gateway, request, request.match_info, query, body, raw, who)
        # A download takes as long as its client reads; anything else that takes long is not coming.
        work = route.handler(call)
        answer = await (work if route.streams else in_time.of(work))
        return as_response(answer, route.media) if isinstance(answer, Answer) else answer

    return gateway.auditing.audited(route.name, serve)


def problem_response(problem: Problem) -> web.Response:
    """Turn a problem into its response, in the one shape."""
    body = as_json(
        {
            "status": problem.status,
            "code": problem.code,
            "message": problem.message,
            "more_info": problem.more_info,
        }
    )
    return web.Response(status=problem.status, body=body, content_type=JSON, headers=problem.headers)
