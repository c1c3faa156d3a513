"""What a request must be before a handler sees it: clear, there in time, not too large, and well formed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Any

from aiohttp import hdrs, web
from multidict import MultiMapping
from pydantic import ValidationError

from sluice_gateway.models.base import QueryModel
from sluice_gateway.problems import FieldProblem, Problem, field_problems, invalid, not_found

ADVANCE_HEADER = "X-SBG-Advance-Access"
BODY_SECONDS = 30.0
"""How long a request's body may take to arrive."""
LARGE_BODY_SECONDS = 120.0
"""How long a large one may."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def refuse_unclear(request: web.Request) -> None:
    """Refuse (400, 404) what could be understood in two ways, and texts that nothing here can keep."""
    # Two hosts in one request are two opinions on whom it is for (RFC 9112 section 3.2).
    if len(request.headers.getall(hdrs.HOST, ())) > 1:
        raise Problem(400, "repeated_host", "The header Host is repeated.", "Send it once.")
    # No text anywhere here may hold NUL or half a character: Postgres refuses both, long after this.
    if not all(map(_storable, request.match_info.values())):
        raise not_found()
    if not all(_storable(text) for pair in request.query.items() for text in pair):
        raise invalid([FieldProblem("", "the query string must not hold NUL or broken characters")])


def _storable(text: str) -> bool:
    return _UNSTORABLE.search(text) is None


async def read_body(request: web.Request, limit: int, takes: Sequence[str], *, large: bool) -> bytes:
    """Give the body's bytes.

    Parameters
    ----------
    limit
        The most bytes.
    takes
        Content types that it may have.
    large
        It may be a large one, and takes longer to arrive.

    Raises
    ------
    Problem
        408, 413 or 415.
    """
    if request.content_type not in takes:
        text = f"The body must be {' or '.join(takes[:2])}."
        raise Problem(415, "unsupported_media_type", text, f"Send Content-Type: {takes[0]}.")
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise Problem(415, "unsupported_encoding", "The body must not be compressed.", "Send it as it is.")
    too_large = Problem(
        413, "too_large", f"The body must be at most {limit} bytes.", "Split the request into several."
    )
    if (request.content_length or 0) > limit:
        raise too_large
    seconds = LARGE_BODY_SECONDS if large else BODY_SECONDS
    if large:
        request = request.clone(client_max_size=limit)
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large from None
    except TimeoutError:
        text = f"The body did not arrive within {seconds:.0f} seconds."
        raise Problem(408, "request_timeout", text, "Send it again.", {"Connection": "close"}) from None


def require_advance(request: web.Request) -> None:
    """Refuse (400) a request without the advance-access header."""
    if request.headers.get(ADVANCE_HEADER, "").strip().lower() != "advance":
        raise Problem(
            400,
            "advance_access_required",
            f"The header {ADVANCE_HEADER}: Advance is required.",
            "This part of the API is used under advance access.",
        )


def parsed_query(model: type[QueryModel], request: web.Request) -> QueryModel:
    """Read the query string; a Problem (400) names what is wrong in it."""
    try:
        return model.model_validate(_query_values(model, request.query))
    except ValidationError as error:
        raise invalid(field_problems(error.errors(include_url=False, include_input=False))) from None


def _query_values(model: type[QueryModel], given: MultiMapping[str]) -> dict[str, Any]:
    """Collect a model's values from a query string; `metadata.x=…` goes to its field `metadata`."""
    values: dict[str, Any] = {}
    if not given:
        return values
    for name, info in model.model_fields.items():
        if name == "metadata":
            filters = {key[9:]: given.getall(key) for key in given if key.startswith("metadata.")}
            values[name] = filters
        elif name in given:
            many = "list" in str(info.annotation)
            values[name] = given.getall(name) if many else given[name]
    return values
