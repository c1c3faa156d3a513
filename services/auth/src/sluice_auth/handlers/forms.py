"""Requests to the OAuth endpoints, read strictly: one way to say a thing, and only once."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec
from aiohttp import web

from sluice_auth.assertion import ASSERTION_TYPE
from sluice_auth.authentication import ByAssertion, ByName, BySecret, Credentials
from sluice_auth.errors import OAuthError, Refusal, invalid_client, invalid_request
from sluice_auth.handlers.routing import ROUTE, fields_of

MOST_FIELDS = 32
_REPEATABLE = "resource"
_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


class Form:
    """A decoded form: each parameter once, but for `resource` (RFC 8707 section 2).

    Parameters
    ----------
    pairs
        What was sent.
    names
        What is looked at; others are ignored (RFC 6749 section 3.2), if they are there once.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], names: frozenset[str]) -> None:
        given: dict[str, str] = {}
        resources = []
        for name, value in pairs:
            if name == _REPEATABLE:
                resources.append(value)
            elif name in given:
                raise invalid_request("A parameter is repeated.")
            else:
                given[name] = value
        self._values = {name: given.get(name, "") for name in names}
        self.resources = tuple(resources)

    def get(self, name: str) -> str | None:
        """Give a parameter; one without a value counts as left out (RFC 6749 section 3.2).

        Raises
        ------
        KeyError
            The form is not declared to have it.
        """
        return self._values[name] or None

    def require(self, name: str) -> str:
        """Give a parameter that must be there.

        Raises
        ------
        OAuthError
            `invalid_request`. `name` is ours, so the text may have it.
        """
        value = self.get(name)
        if value is None:
            raise invalid_request(f"The parameter {name} is missing.")
        return value

    def values(self) -> Mapping[str, str]:
        """Give all parameters but `resource`; one that is left out has no value."""
        return self._values


async def read_form(request: web.Request) -> Form:
    """Give the request's form (RFC 6749 appendix B), with what its route declares.

    Raises
    ------
    OAuthError
        `invalid_request`: another content type, not UTF-8, a repeated parameter, or parameters in the
        address, where logs would keep them.
    """
    if request.query_string:
        raise invalid_request("Parameters belong into the body.")
    if request.content_type != "application/x-www-form-urlencoded":
        raise invalid_request("The content type must be application/x-www-form-urlencoded.")
    body = await request.read()
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise invalid_request("The body is not a form.") from None
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise invalid_request("The body is not a form.")
    return Form(pairs, fields_of(request[ROUTE].form))


def credentials(request: web.Request, form: Form) -> Credentials:
    """Give how the client authenticates: exactly one way (RFC 6749 section 2.3).

    Raises
    ------
    OAuthError
        `invalid_request`: more than one way. `invalid_client`: none.
    """
    headers = request.headers.getall("Authorization", [])
    by_post = form.get("client_secret") is not None
    by_assertion = form.get("client_assertion") is not None or form.get("client_assertion_type") is not None
    if len(headers) + by_post + by_assertion > 1:
        raise invalid_request("The client authenticates in more than one way.")
    client_id = form.get("client_id")
    if headers:
        basic = _basic(headers[0])
        if client_id not in (None, basic.client_id):
            raise invalid_request("client_id is not the authenticated client.")
        return basic
    if by_assertion:
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise invalid_request("client_assertion_type is not the JWT bearer type.")
        return ByAssertion(form.require("client_assertion"), client_id)
    if by_post and client_id is not None:
        return BySecret(client_id, form.require("client_secret"))
    if client_id is not None and not by_post:
        return ByName(client_id)
    raise invalid_client("Client authentication is required.")


def _basic(header: str) -> BySecret:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        raise invalid_client("Clients authenticate by Basic, in the form or by an assertion.")
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
        client_id, colon, secret = text.partition(":")
        # Both halves are form-encoded first (RFC 6749 section 2.3.1).
        client_id, secret = (unquote_plus(half, errors="strict") for half in (client_id, secret))
    except (binascii.Error, ValueError):
        raise invalid_client("The Basic credentials are malformed.") from None
    if not colon or not client_id or not secret:
        raise invalid_client("The Basic credentials are malformed.")
    return BySecret(client_id, secret)


def bearer(request: web.Request) -> str | None:
    """Give the one Bearer token in the header (RFC 6750 section 2.1), or None.

    Raises
    ------
    OAuthError
        `invalid_request`: several.
    """
    headers = request.headers.getall("Authorization", [])
    if len(headers) > 1:
        raise invalid_request("Authorization is repeated.")
    if not headers:
        return None
    scheme, _, token = headers[0].partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Give a JSON response that nobody keeps (RFC 6749 section 5.1), unless `headers` say otherwise."""
    return web.Response(
        body=msgspec.json.encode(data),
        status=status,
        content_type="application/json",
        headers={**_NO_STORE, **(headers or {})},
    )


def refusal(error: OAuthError) -> web.Response:
    """Give the error response of RFC 6749 section 5.2."""
    headers: dict[str, str] = {}
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    if error.retry_after is not None:
        headers["Retry-After"] = str(int(error.retry_after) + 1)
    return answer(Refusal(error.error, error.description), error.status, headers)
