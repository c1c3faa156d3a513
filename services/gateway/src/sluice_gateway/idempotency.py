"""Idempotency keys: the same key with the same request is the same job, however often it is sent.

The key is kept, with the job's id, before the job is published, and marked when it has been. A process that
dies between the two leaves a key whose job may not exist yet; the client's repeat then publishes it again
under the same id, which plans nothing twice.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from multidict import MultiMapping

from sluice_gateway.problems import Problem

KEY_HEADER = "Idempotency-Key"
LIFETIME = timedelta(hours=24)
# The IETF draft's header is a quoted string; what clients send is mostly a bare UUID. Both are taken as is.
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a key stands for: the request's digest, its job, and whether that is known to be published."""

    request: bytes
    job: str
    accepted_at: datetime
    published: bool


class KeyStore(Protocol):
    """Where keys are kept."""

    async def keep(self, client: str, subject: str, key: str, request: bytes, job: str, at: datetime) -> Kept:
        """Keep the key for `job` if it is new; give what it stands for in either case."""

    async def find(self, client: str, subject: str, key: str) -> Kept | None:
        """Give what the key stands for, None if it is new."""

    async def published(self, client: str, subject: str, key: str) -> None:
        """Note that the job is published."""

    async def forget(self, before: datetime) -> int:
        """Remove keys accepted before `before`; give how many."""


def checked_key(headers: MultiMapping[str]) -> str | None:
    """Give the key that a request's header fields carry, None if they carry none.

    Raises
    ------
    Problem
        400: it is empty, too long, has other than visible ASCII characters, or is one of several.
    """
    given = set(headers.getall(KEY_HEADER, ()))
    if not given:
        return None
    if len(given) > 1:
        # Whichever counted, a repeat by way of something that takes the other would be another job.
        raise Problem(
            400, "invalid_idempotency_key", "There are several Idempotency-Key fields.", "Send one of them."
        )
    header = given.pop()
    if not _KEY.fullmatch(header):
        raise Problem(
            400,
            "invalid_idempotency_key",
            "Idempotency-Key must be 1 to 255 visible ASCII characters.",
            "Use a UUID.",
        )
    return header


def digest(operation: str, body: bytes) -> bytes:
    """Give the 32 bytes by which two requests are told apart; `operation` names what is asked for."""
    return hashlib.sha256(operation.encode() + b"\n" + body).digest()


def conflict() -> Problem:
    """Give the answer to a key that was used for another request (422)."""
    return Problem(
        422,
        "idempotency_key_reused",
        "This Idempotency-Key was used for a request with another body.",
        "Use a new key for a new request.",
    )
