"""What the authorization server knows: clients, signing keys, and the record of what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sluice_security.scopes import Scopes


class AuthMethod(StrEnum):
    """How a client proves who it is (RFC 7591 section 2, `token_endpoint_auth_method`)."""

    BASIC = "client_secret_basic"
    POST = "client_secret_post"
    PRIVATE_KEY_JWT = "private_key_jwt"
    NONE = "none"

    @property
    def by_secret(self) -> bool:
        """Whether it is a secret that proves it."""
        return self in (AuthMethod.BASIC, AuthMethod.POST)


class GrantType(StrEnum):
    """What a client may exchange for a token."""

    CLIENT_CREDENTIALS = "client_credentials"
    AUTHORIZATION_CODE = "authorization_code"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a grant type's name


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client.

    Parameters
    ----------
    scopes
        The most it may ask for.
    secret_hash, registration_hash
        Of its secret and its registration access token, by `sluice_auth.client_secrets.digest`.
    keys, keys_url
        Its public JWKs, or where they are, if it authenticates with one.
    redirects
        The addresses that people may be sent back to (RFC 6749 section 3.1.2.2).
    details
        What else it told about itself.
    operator
        Whether operators' scopes may be granted to it. Only the command line and the bootstrap set this.
    created_at
        Unix seconds.
    """

    id: str
    name: str
    method: AuthMethod
    grants: tuple[GrantType, ...]
    scopes: Scopes
    created_at: float
    secret_hash: bytes | None = None
    registration_hash: bytes | None = None
    keys: tuple[dict[str, Any], ...] | None = None
    keys_url: str | None = None
    redirects: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    operator: bool = False


DONE = "ok"
"""The outcome of an act that was not refused."""


class Action(StrEnum):
    """What an audit record is about."""

    TOKEN = "token"  # noqa: S105 - an action's name
    INTROSPECT = "introspect"
    REVOKE = "revoke"
    REGISTER = "register"
    READ_CLIENT = "read-client"
    UPDATE_CLIENT = "update-client"
    REMOVE_CLIENT = "remove-client"
    ROTATE_SECRET = "rotate-secret"  # noqa: S105 - an action's name
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    AUTHORIZE = "authorize"
    WITHDRAW = "withdraw"
    ADD_USER = "add-user"
    CHANGE_PASSWORD = "change-password"  # noqa: S105 - an action's name
    CHANGE_OPERATOR = "change-operator"
    REMOVE_USER = "remove-user"
    ADD_OPERATOR = "add-operator"
    ROTATE_KEYS = "rotate-keys"


@dataclass(frozen=True, slots=True)
class Entry:
    """One audit record: ids and codes only. `client` is a known client's id; `token` is a `jti`."""

    at: float
    action: Action
    outcome: str = DONE
    client: str | None = None
    subject: str | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class SealedKey:
    """A signing key as it is stored; times are Unix seconds. It signs from `active_at` on."""

    kid: str
    sealed: bytes
    created_at: float
    active_at: float
