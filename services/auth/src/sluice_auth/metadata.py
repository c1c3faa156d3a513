"""What a client may say about itself when it signs up (RFC 7591 section 2), and what is made of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import msgspec
from joserfc.jwk import RSAKey
from msgspec import Meta, Struct

from sluice_auth.assertion import ALGORITHMS
from sluice_auth.errors import TOO_MANY_LIMITS, OAuthError, invalid_metadata
from sluice_auth.model import AuthMethod
from sluice_contracts.wire import UNREADABLE
from sluice_security import jose
from sluice_security.scopes import InvalidScopeError, Scopes, TooManyLimitsError

_LONGEST_TEXT = 255
_LONGEST_URI = 2_000
MOST_KEYS = 10
_MOST_CONTACTS = 10
_RSA_BITS = range(2_048, 4_097)
_RSA_EXPONENTS = range(65_537, 1 << 32)

CheckAddress = Callable[[str], None]
"""Raises ValueError, saying why, for an address that key sets are not fetched from."""
Keys = tuple[dict[str, Any], ...] | str | None


class KeySet(Struct):
    """A JWK Set (RFC 7517 section 5)."""

    keys: list[dict[str, Any]]


class Metadata(Struct, omit_defaults=True):
    """A registration as it is sent. Members that are not known here are ignored, as the RFC has it.

    `client_id` and `client_secret` belong to an update (RFC 7592 section 2.2).
    """

    client_name: Annotated[str | None, Meta(description="What people are shown; at most 255 bytes.")] = None
    grant_types: Annotated[
        list[str] | None,
        Meta(description="`client_credentials`, or `authorization_code` and `refresh_token`."),
    ] = None
    redirect_uris: Annotated[
        list[str] | None, Meta(description="Where users may be sent back to; with `authorization_code`.")
    ] = None
    response_types: Annotated[list[str] | None, Meta(description="`code`, with `authorization_code`.")] = None
    token_endpoint_auth_method: Annotated[
        str | None,
        Meta(
            description="`client_secret_basic`, the default without keys, `client_secret_post`,"
            " `private_key_jwt`, or `none`."
        ),
    ] = None
    scope: Annotated[
        str | None, Meta(description="The most that it will ask for; by default all that may be had.")
    ] = None
    jwks: Annotated[
        KeySet | None, Meta(description="Its public keys, for `private_key_jwt`: RSA or EC on P-384.")
    ] = None
    jwks_uri: Annotated[str | None, Meta(description="Or their address.")] = None
    client_uri: str | None = None
    contacts: list[str] | None = None
    software_id: str | None = None
    software_version: str | None = None
    software_statement: str | None = None
    client_id: str | None = None
    client_secret: str | None = None


def parse(body: bytes) -> Metadata:
    """Read a registration.

    Raises
    ------
    OAuthError
        `invalid_client_metadata`: not a JSON object, or a member is of another type.
    """
    try:
        return msgspec.json.decode(body, type=Metadata)
    except msgspec.ValidationError as error:
        # The path holds names of members known above, never what was sent.
        path = str(error).partition(" - at `$.")[2].rstrip("`").partition("[")[0]
        raise invalid_metadata(f"{path or 'The body'} is not of the expected type.") from None
    except UNREADABLE:
        raise invalid_metadata("The body is not a JSON object.") from None


def auth_method(metadata: Metadata) -> AuthMethod:
    """Give how the client will authenticate; by default with its secret in the header.

    Raises
    ------
    OAuthError
        `invalid_client_metadata`: not one of the methods on offer.
    """
    if metadata.token_endpoint_auth_method is None:
        return AuthMethod.BASIC if metadata.jwks is None else AuthMethod.PRIVATE_KEY_JWT
    try:
        return AuthMethod(metadata.token_endpoint_auth_method)
    except ValueError:
        raise invalid_metadata("token_endpoint_auth_method is not one on offer.") from None


def scopes(metadata: Metadata, most: Scopes) -> Scopes:
    """Give the scopes the client may ask for: its wish, narrowed to `most`; without a wish, all of it.

    Raises
    ------
    OAuthError
        `invalid_client_metadata`: a scope is malformed, none may be had, or they are too much for a token.
    """
    if metadata.scope is None:
        return most
    try:
        chosen = most.narrow(Scopes.parse(metadata.scope))
    except TooManyLimitsError:
        raise invalid_metadata(TOO_MANY_LIMITS) from None
    except InvalidScopeError:
        raise invalid_metadata("scope holds an unknown or malformed scope.") from None
    if not chosen:
        raise invalid_metadata("None of the scopes can be registered for.")
    return chosen


def keys(metadata: Metadata, method: AuthMethod, check_address: CheckAddress) -> Keys:
    """Give the public keys of a client that authenticates with one, or their address; None for others.

    Raises
    ------
    OAuthError
        `invalid_client_metadata`: there are none, or one cannot serve or must not be shown.
    """
    by_value, by_address = metadata.jwks is not None, metadata.jwks_uri is not None
    if method is not AuthMethod.PRIVATE_KEY_JWT:
        if by_value or by_address:
            raise invalid_metadata("Keys are for clients that authenticate by private_key_jwt.")
        return None
    if by_value == by_address:
        raise invalid_metadata("private_key_jwt needs either jwks or jwks_uri.")
    if metadata.jwks is not None:
        return _checked_keys(metadata.jwks.keys)
    address = _text("jwks_uri", metadata.jwks_uri or "", _LONGEST_URI)
    try:
        check_address(address)
    except ValueError as error:
        raise invalid_metadata(f"jwks_uri {error}.") from None
    return address


def _checked_keys(given: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    if not 0 < len(given) <= MOST_KEYS:
        raise invalid_metadata(f"jwks must hold 1 to {MOST_KEYS} keys.")
    names = set()
    for data in given:
        name = (data.get("kid"), str(data.get("kty")))
        if not isinstance(name[0], str) or not 0 < len(name[0]) <= _LONGEST_TEXT or name in names:
            raise invalid_metadata("Every key needs a kid of its own.")
        names.add(name)
        if not jose.PRIVATE.isdisjoint(data):
            raise invalid_metadata("jwks must hold public keys only.")
        if not serves(data):
            raise invalid_metadata(
                "Keys must be RSA of 2048 to 4096 bits or EC on P-384, for signing with RS384 or ES384."
            )
    return tuple(given)


def serves(data: dict[str, Any]) -> bool:
    """Tell whether a JWK can verify an assertion."""
    algorithm = data.get("alg", "RS384")
    if data.get("use", "sig") != "sig" or not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        return False
    try:
        key = jose.import_public(data)
    except jose.RejectedError:
        return False
    if isinstance(key, RSAKey):
        return _sound_rsa(key)
    return key is not None and data.get("crv") == "P-384"


def _sound_rsa(key: RSAKey) -> bool:
    # A huge modulus or exponent would let its owner choose how long every verification takes.
    exponent = key.public_key.public_numbers().e
    return key.public_key.key_size in _RSA_BITS and exponent in _RSA_EXPONENTS


def name(metadata: Metadata) -> str:
    """Give the client's name, NFC, or an empty text.

    Raises
    ------
    OAuthError
        `invalid_client_metadata`: too long, or with characters that could pretend to be something else.
    """
    return _text("client_name", metadata.client_name or "")


def details(metadata: Metadata) -> dict[str, Any]:
    """Give what else a client told about itself and is kept.

    Raises
    ------
    OAuthError
        `invalid_client_metadata` or `invalid_software_statement`.
    """
    if metadata.software_statement is not None:
        raise OAuthError("invalid_software_statement", "Software statements are not accepted here.")
    kept: dict[str, Any] = {}
    for field in ("software_id", "software_version"):
        value = getattr(metadata, field)
        if value is not None:
            kept[field] = _text(field, value)
    if metadata.client_uri is not None:
        uri = _text("client_uri", metadata.client_uri, _LONGEST_URI)
        if not uri.startswith(("https://", "http://")):
            raise invalid_metadata("client_uri must be an http(s) address.")
        kept["client_uri"] = uri
    if metadata.contacts is not None:
        if len(metadata.contacts) > _MOST_CONTACTS:
            raise invalid_metadata("contacts holds too many.")
        kept["contacts"] = [_text("contacts", contact) for contact in metadata.contacts]
    return kept


def _text(field: str, value: str, longest: int = _LONGEST_TEXT) -> str:
    value = unicodedata.normalize("NFC", value).strip()
    # Controls, separators, and the invisible marks that reorder what is read (categories C and Zl, Zp).
    if any(
        unicodedata.category(char)[0] == "C" or unicodedata.category(char) in ("Zl", "Zp") for char in value
    ):
        raise invalid_metadata(f"{field} holds characters that cannot be shown.")
    if len(value.encode()) > longest:
        raise invalid_metadata(f"{field} is longer than {longest} bytes.")
    return value
