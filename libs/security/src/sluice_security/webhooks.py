"""Signatures of webhooks (Standard Webhooks 1.0, "Signature scheme"): HMAC-SHA256, version `v1`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = "whsec_"


def secret_text(secret: bytes) -> str:
    """Write a secret as receivers are given it."""
    return PREFIX + base64.b64encode(secret).decode()


def signed_headers(secrets: Sequence[bytes], message: str, at: int, body: bytes) -> dict[str, str]:
    """Give the headers of a request that sends `body` as the message of this id at `at` (Unix seconds).

    It is signed with each of the secrets, so that a receiver who knows any of them can verify it.
    """
    signed = f"{message}.{at}.".encode() + body
    digests = [hmac.digest(secret, signed, hashlib.sha256) for secret in secrets]
    return {
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join([f"v1,{base64.b64encode(digest).decode()}" for digest in digests]),
    }
