"""Routes, declared once: what the router serves and what the OpenAPI document says come from the same line.

    ROUTES = (
        Route("POST", "/oauth/revoke", TokenHandlers.revoke, "Revoke a token", TAG, {200: dict},
              form=TokenStateForm, proof=Proof.CLIENT),
    )

A form has what its route declares and nothing else: what is not declared is not seen by a handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, get_args

import msgspec
from aiohttp import web
from msgspec import Struct

Handler = Callable[[web.Request], Awaitable[web.Response]]


class Proof(Enum):
    """What shows who asks."""

    NONE = "nothing"
    CLIENT = "the client's secret or assertion, in the header or in the form"
    REGISTRATION = "a client's registration access token"
    SIGN_UP = "an initial access token, if operators ask for one"
    SESSION = "a cookie, and for forms that they are this server's"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation.

    Parameters
    ----------
    method, path
        As the router takes them.
    handler
        Its handler, a method; its name is the operation's id, its docstring the description.
    summary, tag
        For the document.
    answers
        What is answered, by success status: a struct; `dict`, an object; `str`, a page; None, no body.
    form, body, query
        The structs that say what a request's form, its JSON or its address may have.
    proof
        What shows who asks.
    errors
        Statuses of refusals, beside those that every request may be answered with.
    head
        Whether HEAD is answered as well.
    examples
        Requests' bodies, by what they show.
    """

    method: str
    path: str
    handler: Callable[[Any, web.Request], Awaitable[web.Response]]
    summary: str
    tag: str
    answers: Mapping[int, Any]
    form: Any = None
    body: type[Struct] | None = None
    query: type[Struct] | None = None
    proof: Proof = Proof.NONE
    errors: tuple[int, ...] = ()
    head: bool = False
    examples: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The operation's name, which is its handler's."""
        return self.handler.__name__

    @property
    def page(self) -> bool:
        """Whether people are answered, by pages."""
        return str in self.answers.values() or self.proof is Proof.SESSION


ROUTE = web.RequestKey("route", Route)
"""What a request was found to be for."""


def served(
    owner: object, routes: Iterable[Route], around: Callable[[Handler], Handler] = lambda handler: handler
) -> list[web.RouteDef]:
    """Give what the router serves of `routes`, by the methods of `owner`, with `around` around each."""
    return [_served(route, around(partial(route.handler, owner))) for route in routes]


def _served(route: Route, handler: Handler) -> web.RouteDef:
    async def serve(request: web.Request) -> web.Response:
        request[ROUTE] = route
        return await handler(request)

    return web.RouteDef(
        route.method, route.path, serve, {"allow_head": route.head} if route.method == "GET" else {}
    )


def fields_of(form: Any) -> frozenset[str]:
    """Give the names of what a form or an address may have, by its struct or its structs."""
    names: set[str] = set()
    for kind in get_args(form) or (form,):
        names.update(each.encode_name for each in msgspec.structs.fields(kind))
        if (tag := kind.__struct_config__.tag_field) is not None:
            names.add(tag)
    return frozenset(names)
