"""What the endpoints of tokens take and answer (RFC 6749, 7009, 7521, 7636, 7662 and 8707)."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from sluice_auth.assertion import AssertionType
from sluice_auth.code_grants import VERIFIER
from sluice_auth.model import GrantType


class ClientForm(Struct, kw_only=True):
    """How a client says who it is, unless it does so by the scheme Basic."""

    client_id: (
        Annotated[str, Meta(description="Of the client; all that a client without a secret says.")]
        | UnsetType
    ) = UNSET
    client_secret: Annotated[str, Meta(description="Its secret, for `client_secret_post`.")] | UnsetType = (
        UNSET
    )
    client_assertion_type: AssertionType | UnsetType = UNSET
    client_assertion: (
        Annotated[
            str,
            Meta(
                description="For `private_key_jwt`: a JWT signed by RS384 or ES384, with the client's id as"
                " `iss` and `sub`, this endpoint as `aud`, `exp` at most five minutes ahead, and a new `jti`."
            ),
        ]
        | UnsetType
    ) = UNSET


class TokenForm(ClientForm, kw_only=True):
    """What all grants have."""

    scope: (
        Annotated[str, Meta(description="What the token shall permit; without it all that it may.")]
        | UnsetType
    ) = UNSET
    resource: (
        Annotated[list[str], Meta(description="The resource server that the token is for; one at most.")]
        | UnsetType
    ) = UNSET


class ClientCredentialsForm(
    TokenForm, kw_only=True, tag_field="grant_type", tag=GrantType.CLIENT_CREDENTIALS.value
):
    """The client speaks for itself."""


class AuthorizationCodeForm(
    TokenForm, kw_only=True, tag_field="grant_type", tag=GrantType.AUTHORIZATION_CODE.value
):
    """A user let the client speak for them."""

    code: Annotated[str, Meta(description="As the user brought it back from `/oauth/authorize`.")]
    redirect_uri: Annotated[str, Meta(description="Where they brought it.")]
    code_verifier: Annotated[
        str, Meta(description="What `code_challenge` was made of.", pattern=f"^{VERIFIER.pattern}$")
    ]


class RefreshTokenForm(TokenForm, kw_only=True, tag_field="grant_type", tag=GrantType.REFRESH_TOKEN.value):
    """The client goes on speaking for a user. Each refresh token is good once."""

    refresh_token: Annotated[str, Meta(description="The one that came with the access token before.")]


AnyTokenForm = ClientCredentialsForm | AuthorizationCodeForm | RefreshTokenForm


class TokenStateForm(ClientForm, kw_only=True):
    """Which token it is about."""

    token: Annotated[str, Meta(description="An access token or a refresh token.")]
    token_type_hint: (
        Annotated[str, Meta(description="Changes nothing: both kinds are tried.")] | UnsetType
    ) = UNSET


class Token(Struct, kw_only=True):
    """An access token (RFC 6749 section 5.1)."""

    access_token: Annotated[str, Meta(description="A JWT (RFC 9068).")]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a kind of token
    expires_in: Annotated[int, Meta(description="In seconds.")]
    scope: Annotated[str, Meta(description="What it permits.")]
    refresh_token: (
        Annotated[str, Meta(description="For the next one, with `offline_access`.")] | UnsetType
    ) = UNSET


class Revocations(Struct):
    """What is revoked: until when tokens do not count that were issued until then."""

    revoked: Annotated[
        dict[str, float],
        Meta(description="By a digest of a token's or client's id: tokens issued until then are void."),
    ]
