"""A token authority of a test's own: mints access tokens, publishes their key, revokes them.

    authority = LocalAuthority()
    verifier = authority.verifier()                      # what the gateway is given
    token = authority.mint(client="portal", scopes="bulk/import files/read")
    headers = authority.bearer(client="portal", subject="ann", scopes="files/read")

Every key is generated when the test runs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any, cast

from joserfc import jwt
from joserfc.jwk import ECKey

from sluice_security.tokens import TokenVerifier, revocation_digest

ISSUER = "https://auth.test"
AUDIENCE = "https://api.test"
ALL_IMPORT_SCOPES = "bulk/import files/read files/write"


class LocalAuthority:
    """Stands in for the authorization server, in the same process.

    Parameters
    ----------
    issuer, audience
        What its tokens say, and what its verifiers ask for.
    now
        The wall clock that tokens are minted and judged by, Unix seconds.
    """

    def __init__(
        self, issuer: str = ISSUER, audience: str = AUDIENCE, now: Callable[[], float] = time.time
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self._now = now
        self.key = ECKey.generate_key("P-256", {"kid": "test-key", "use": "sig", "alg": "ES256"})
        self.published: list[dict[str, Any]] = [cast("dict[str, Any]", self.key.as_dict(private=False))]
        self.void: dict[str, float] = {}
        self.away = False
        self.asked = 0
        self._numbers = itertools.count(1)

    async def keys(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.away:
            raise ConnectionError("away")
        return self.published

    async def smart_configuration(self) -> dict[str, Any]:
        if self.away:
            raise ConnectionError("away")
        return {"issuer": self.issuer, "token_endpoint": f"{self.issuer}/oauth/token"}

    async def revoked(self) -> dict[str, float]:
        if self.away:
            raise ConnectionError("away")
        return dict(self.void)

    def mint(
        self,
        *,
        client: str = "portal",
        subject: str | None = None,
        scopes: str = ALL_IMPORT_SCOPES,
        lifetime: float = 300,
        key: ECKey | None = None,
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Make a token. `subject` is the client itself unless given; `header` and `claims` override.

        A claim that is given as None is left out.
        """
        now = int(self._now())
        body = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": client if subject is None else subject,
            "client_id": client,
            "scope": scopes,
            "iat": now,
            "exp": now + int(lifetime),
            "jti": f"token-{next(self._numbers)}",
            **claims,
        }
        key = self.key if key is None else key
        head = {"alg": "ES256", "typ": "at+jwt", "kid": key.kid, **(header or {})}
        return jwt.encode(
            {name: value for name, value in head.items() if value is not None},
            {name: value for name, value in body.items() if value is not None},
            key,
            default_type=None,
        )

    def bearer(self, **kwargs: Any) -> dict[str, str]:
        """Give the request header that carries a fresh token; the arguments are those of `mint`."""
        return {"Authorization": f"Bearer {self.mint(**kwargs)}"}

    def revoke(self, jti: str) -> None:
        self.void[revocation_digest("token", jti)] = float("inf")

    def verifier(self, **kwargs: Any) -> TokenVerifier:
        return TokenVerifier(self, issuer=self.issuer, audience=self.audience, **{"now": self._now, **kwargs})
