"""What a caller is told when it is refused: the error codes of OAuth, with texts that repeat no input."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from sluice_security.scopes import MOST_LIMITED

TOO_MANY_LIMITS = f"More than {MOST_LIMITED} scopes have search parameters. Ask for fewer, or for wider ones."
ErrorCode = Literal[
    "access_denied",
    "invalid_client",
    "invalid_client_metadata",
    "invalid_grant",
    "invalid_redirect_uri",
    "invalid_request",
    "invalid_scope",
    "invalid_software_statement",
    "invalid_target",
    "invalid_token",
    "not_found",
    "request_not_supported",
    "request_uri_not_supported",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
]


class Refusal(Struct):
    """What is wrong (RFC 6749 section 5.2; RFC 7591, section 3.2.2, for registrations)."""

    error: Annotated[ErrorCode, Meta(description="A word for programs.")]
    error_description: Annotated[str, Meta(description="What is wrong and what to do, for developers.")]


class OAuthError(Exception):
    """A refusal (RFC 6749 section 5.2, RFC 7591 section 3.2.2, RFC 6750 section 3.1).

    Parameters
    ----------
    error
        The registered code.
    description
        A sentence for the client's developer. Fixed text: nothing a caller sent is in it.
    status
        The HTTP status.
    challenge
        The value of `WWW-Authenticate`, for 401.
    retry_after
        Seconds until trying again makes sense.
    """

    def __init__(
        self,
        error: ErrorCode,
        description: str,
        status: int = 400,
        *,
        challenge: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status
        self.challenge = challenge
        self.retry_after = retry_after


def invalid_client(description: str = "Client authentication failed.") -> OAuthError:
    """Refuse a client that did not prove who it is; unknown and wrong look the same."""
    return OAuthError("invalid_client", description, 401, challenge='Basic realm="sluice", charset="UTF-8"')


def invalid_request(description: str) -> OAuthError:
    """Refuse a request that is not one of the protocol's."""
    return OAuthError("invalid_request", description)


def invalid_metadata(description: str) -> OAuthError:
    """Refuse a registration (RFC 7591 section 3.2.2)."""
    return OAuthError("invalid_client_metadata", description)


def invalid_registration_token() -> OAuthError:
    """Refuse whoever does not hold the registration or initial access token (RFC 7592 section 2)."""
    return OAuthError(
        "invalid_token",
        "The registration is not open to this token.",
        401,
        challenge='Bearer realm="sluice registration", error="invalid_token"',
    )


def too_many(seconds: float) -> OAuthError:
    """Refuse whoever tries too often."""
    return OAuthError("temporarily_unavailable", "Too many attempts; wait.", 429, retry_after=seconds)
