"""Signatures of webhooks (Standard Webhooks 1.0, "Signature scheme"): HMAC-SHA256, version `v1`."""

from __future__ import annotations

import base64
import hashlib
import hmac

PREFIX = "whsec_"


def secret_text(secret: bytes) -> str:
    """Write a secret as receivers are given it."""
    return PREFIX + base64.b64encode(secret).decode()


def signed_headers(secret: bytes, message: str, at: int, body: bytes) -> dict[str, str]:
    """Give the headers of a request that sends `body` as the message of this id at `at` (Unix seconds)."""
    signed = f"{message}.{at}.".encode() + body
    signature = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {"webhook-id": message, "webhook-timestamp": str(at), "webhook-signature": f"v1,{signature}"}
