"""A client's own key pair, for SMART Backend Services: one half to keep, the other to register."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from joserfc.jwk import ECKey, KeyParameters, RSAKey

ALGORITHMS = ("ES384", "RS384")
# As strong as is asked for beyond 2030 (NIST SP 800-57), and verified in microseconds still.
_RSA_BITS = 3_072


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A new key.

    Parameters
    ----------
    private
        The JWK to sign assertions with. It must stay where it is made.
    public
        The JWK Set to register, or to publish at the client's `jwks_uri`.
    """

    private: dict[str, Any]
    public: dict[str, Any]

    @property
    def kid(self) -> str:
        """The key's id: its thumbprint (RFC 7638), so that two keys never share one."""
        return str(self.private["kid"])

    def __repr__(self) -> str:
        return f"KeyPair({self.kid!r})"


def make_key_pair(algorithm: str = "ES384") -> KeyPair:
    """Make a key for client assertions (SMART App Launch 2.2, "Backend Services").

    Parameters
    ----------
    algorithm
        ES384 (P-384) or RS384 (RSA, 3072 bits): the two that servers must support.

    Raises
    ------
    ValueError
        It is neither.
    """
    parameters: KeyParameters = {"use": "sig", "alg": algorithm}
    if algorithm == "ES384":
        key: ECKey | RSAKey = ECKey.generate_key("P-384", parameters)
    elif algorithm == "RS384":
        key = RSAKey.generate_key(_RSA_BITS, parameters)
    else:
        raise ValueError("the algorithm must be ES384 or RS384")
    kid = key.thumbprint()
    private = {**cast("dict[str, Any]", key.as_dict(private=True)), "kid": kid}
    public = {**cast("dict[str, Any]", key.as_dict(private=False)), "kid": kid}
    return KeyPair(private, {"keys": [public]})
