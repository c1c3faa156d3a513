"""JSON Web Encryption (RFC 7516) as bulk submissions use it: keys that were delivered to us, and contents.

The key pair that they are delivered under is derived from the deployment's secret, so there is nothing to
store, and every service with the secret opens what was encrypted for it. Its private half never leaves this
module.
"""

from __future__ import annotations

import base64
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey
from msgspec import json

from sluice_contracts.ids import Keys, each_of
from sluice_contracts.wire import UNREADABLE

ALGORITHMS = ("ECDH-ES+A256KW", "ECDH-ES+A128KW", "ECDH-ES")
"""How a key may be encrypted for us, the one we name first."""
ENCRYPTIONS = ("A256GCM", "A128GCM", "A256CBC-HS512", "A128CBC-HS256")
"""How contents may be encrypted."""
_CURVE = ec.SECP256R1()
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_KEY_BYTES = frozenset({16, 32, 64})
_INFO = b"sluice delivered keys"
# Sixteen bytes more than the order has, so that the remainder is as good as even (FIPS 186-5, A.2.1).
_SEED_BYTES = 48


class NotDecryptedError(ValueError):
    """It is not encrypted as it has to be, or not for this key."""


class DeliveredKeys:
    """Opens content encryption keys that were encrypted for us.

    Parameters
    ----------
    secrets
        The deployment's secrets: of the first the key pair is published, those of all open.
    """

    def __init__(self, secrets: Keys) -> None:
        self._keys = [_derived(secret) for secret in each_of(secrets)]

    def published(self) -> dict[str, Any]:
        """Give the public key, for a key set (RFC 7517)."""
        key = self._keys[0]
        return {
            **key.as_dict(private=False),
            "kid": key.thumbprint(),
            "use": "enc",
            "alg": ALGORITHMS[0],
        }

    def open(self, text: str) -> bytes:
        """Give the content encryption key that a JWE in its compact form holds: bytes, or an `oct` JWK.

        Raises
        ------
        NotDecryptedError
            It is no such JWE.
        """
        for key in self._keys:
            try:
                held = _decrypted(text.encode(), key, ALGORITHMS)
            except NotDecryptedError:
                continue
            return _key_in(held)
        raise NotDecryptedError("not encrypted for the key that is published")


def decrypt(content: bytes, key: bytes) -> bytes:
    """Decrypt a JWE in its compact form that is encrypted directly (`dir`) with a content encryption key.

    All of it is held, and nothing given before all of it is authenticated.

    Raises
    ------
    NotDecryptedError
        It is no such JWE, or was altered.
    """
    return _decrypted(content.strip(), OctKey.import_key(key), ("dir",))


def is_encrypted(content: bytes) -> bool:
    """Tell whether content looks like a JWE in its compact form: five parts, of which the first is JSON."""
    return content.lstrip()[:3] == b"eyJ"


def _decrypted(content: bytes, key: ECKey | OctKey, algorithms: tuple[str, ...]) -> bytes:
    registry = jwe.JWERegistry(algorithms=(*algorithms, *ENCRYPTIONS))
    # How long contents may be is judged by whoever gets them, before they are held.
    registry.max_ciphertext_length = len(content)
    try:
        found: bytes | None = jwe.decrypt_compact(content, key, registry=registry).plaintext
    except (JoseError, ValueError, TypeError, KeyError):
        raise NotDecryptedError("not a JWE for this key") from None
    return found or b""


def _key_in(held: bytes) -> bytes:
    # Bytes of a key may happen to begin as a JWK does; that they are one is out of the question.
    jwk = _jwk_key(held)
    key = held if jwk is None else jwk
    if len(key) not in _KEY_BYTES:
        raise NotDecryptedError("not a symmetric key of 16, 32 or 64 bytes")
    return key


def _jwk_key(held: bytes) -> bytes | None:
    """Give the key in an `oct` JWK; None if it is none."""
    try:
        jwk = json.decode(held, type=dict[str, Any])
        if jwk.get("kty", "oct") != "oct":
            return None
        text = str(jwk["k"])
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (*UNREADABLE, KeyError, ValueError):
        return None


def _derived(secret: bytes) -> ECKey:
    seed = HKDF(algorithm=SHA256(), length=_SEED_BYTES, salt=None, info=_INFO).derive(secret)
    scalar = int.from_bytes(seed) % (_ORDER - 1) + 1
    numbers = ec.derive_private_key(scalar, _CURVE).private_numbers()
    public = numbers.public_numbers
    return ECKey.import_key(
        {
            "kty": "EC",
            "crv": "P-256",
            "x": _text(public.x),
            "y": _text(public.y),
            "d": _text(numbers.private_value),
        }
    )


def _text(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()
