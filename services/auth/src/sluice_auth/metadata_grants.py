"""Which grants a client registers for, and where its users are sent back to (RFC 7591 sections 2 and 2.1)."""

from __future__ import annotations

from sluice_auth.errors import OAuthError, invalid_metadata
from sluice_auth.metadata import Metadata
from sluice_auth.model import AuthMethod, GrantType
from sluice_auth.redirects import check_redirect

_MOST_REDIRECTS = 10


def grants_and_redirects(
    metadata: Metadata, method: AuthMethod
) -> tuple[tuple[GrantType, ...], tuple[str, ...]]:
    """Give the grants the client will use, and the addresses users are sent back to.

    Without a word, they are codes for whoever has an address to send them to, and client credentials for
    others: the RFC's default is replaced by what suits, as its section 2 permits.

    Raises
    ------
    OAuthError
        `invalid_client_metadata` or `invalid_redirect_uri`: one is not on offer, or they do not go together.
    """
    redirects = _redirects(metadata)
    usual = GrantType.AUTHORIZATION_CODE if redirects else GrantType.CLIENT_CREDENTIALS
    grants = (usual,) if metadata.grant_types is None else _chosen(metadata.grant_types)
    by_code = GrantType.AUTHORIZATION_CODE in grants
    if by_code != bool(redirects):
        raise OAuthError("invalid_redirect_uri", "redirect_uris and authorization_code need each other.")
    if GrantType.REFRESH_TOKEN in grants and not by_code:
        raise invalid_metadata("refresh_token needs authorization_code.")
    if metadata.response_types is not None and metadata.response_types != (["code"] if by_code else []):
        raise invalid_metadata("response_types does not go with grant_types.")
    if method is AuthMethod.NONE and GrantType.CLIENT_CREDENTIALS in grants:
        raise invalid_metadata("client_credentials needs a client that can prove who it is.")
    return grants, redirects


def _chosen(names: list[str]) -> tuple[GrantType, ...]:
    try:
        chosen = tuple(GrantType(name) for name in dict.fromkeys(names))
    except ValueError:
        raise invalid_metadata("A grant type is not on offer.") from None
    if not chosen:
        raise invalid_metadata("grant_types is empty.")
    return chosen


def _redirects(metadata: Metadata) -> tuple[str, ...]:
    redirects = tuple(dict.fromkeys(metadata.redirect_uris or ()))
    if len(redirects) > _MOST_REDIRECTS:
        raise OAuthError("invalid_redirect_uri", "redirect_uris holds too many.")
    for uri in redirects:
        try:
            check_redirect(uri)
        except ValueError as error:
            raise OAuthError("invalid_redirect_uri", f"A redirect address {error}.") from None
    return redirects
