"""What browsers send of people: a client's request for consent, and this server's own forms."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from sluice_auth.authorization import CHALLENGE


class AuthorizationQuery(Struct, kw_only=True):
    """A client's request for a user's consent (RFC 6749 section 4.1.1, RFC 7636, RFC 8707)."""

    response_type: Literal["code"]
    client_id: Annotated[str, Meta(description="Of the client that asks.")]
    redirect_uri: Annotated[str, Meta(description="Where to come back to; one that the client registered.")]
    scope: (
        Annotated[str, Meta(description="What the client wants to do; without it all that it may.")]
        | UnsetType
    ) = UNSET
    state: Annotated[str, Meta(description="Comes back as it is; at most 2,000 characters.")] | UnsetType = (
        UNSET
    )
    code_challenge: Annotated[
        str,
        Meta(description="The SHA-256 of `code_verifier`, in base64url.", pattern=f"^{CHALLENGE.pattern}$"),
    ]
    code_challenge_method: Literal["S256"]
    resource: (
        Annotated[list[str], Meta(description="The resource server that tokens are for; one at most.")]
        | UnsetType
    ) = UNSET


class _PageForm(Struct, kw_only=True):
    """A form of one of this server's pages."""

    proof: Annotated[str, Meta(description="That the page is this server's, and this browser's.")]


class SignOutForm(_PageForm, kw_only=True):
    """Signing out."""

    then: Annotated[str, Meta(description="A query of `/oauth/authorize` to go on with.")] | UnsetType = UNSET


class SignInForm(SignOutForm, kw_only=True):
    """Signing in."""

    name: str
    password: str


class ConsentForm(_PageForm, kw_only=True):
    """What a user decides."""

    then: Annotated[str, Meta(description="The query of `/oauth/authorize` that they were asked by.")]
    decision: Literal["allow", "deny"]


class WithdrawForm(_PageForm, kw_only=True):
    """Taking back what a client was let do."""

    client_id: str
