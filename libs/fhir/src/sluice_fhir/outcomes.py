"""What a source's answer means for an item: one table, so that every caller treats it alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure

_LONGEST_NUMBER = 12


class Asked(Enum):
    """What was asked for: some answers have another name for a document than for its attachment."""

    DOCUMENT = "document"
    ATTACHMENT = "attachment"


@dataclass(frozen=True, slots=True)
class Meaning:
    """How an item ends, and whether asking again later may change that."""

    document: ItemError
    attachment: ItemError
    retry: bool = False


def _same(code: ItemError, *, retry: bool = False) -> Meaning:
    return Meaning(code, code, retry)


# The one table of statuses. What is not in it: 4xx is final, 5xx may pass, and anything else that is not a
# success makes no sense here. 500 is retried although it is often a defect of the source's that one document
# meets: HAPI and Firely also answer 500 when their database is briefly away, and a wasted retry costs less
# than a lost item.
STATUSES: dict[int, Meaning] = {
    401: _same(ItemError.SOURCE_REFUSED),
    403: _same(ItemError.SOURCE_REFUSED),
    404: Meaning(ItemError.DOCUMENT_NOT_FOUND, ItemError.ATTACHMENT_NOT_FOUND),
    408: _same(ItemError.SOURCE_TIMEOUT, retry=True),
    410: Meaning(ItemError.DOCUMENT_GONE, ItemError.ATTACHMENT_NOT_FOUND),
    416: Meaning(ItemError.SOURCE_REJECTED, ItemError.ATTACHMENT_TRUNCATED),
    425: _same(ItemError.SOURCE_THROTTLED, retry=True),
    429: _same(ItemError.SOURCE_THROTTLED, retry=True),
    501: _same(ItemError.SOURCE_REJECTED),
    504: _same(ItemError.SOURCE_TIMEOUT, retry=True),
    505: _same(ItemError.SOURCE_REJECTED),
}
_CLIENT_ERROR = _same(ItemError.SOURCE_REJECTED)
_SERVER_ERROR = _same(ItemError.SOURCE_UNAVAILABLE, retry=True)

# Issue types (R4 value set issue-type) that an OperationOutcome inside a 200 may carry; the rest is final.
# Vendors that answer so put a proxy before the FHIR server that hides the status.
ISSUES: dict[str, Meaning] = {
    "not-found": STATUSES[404],
    "deleted": STATUSES[410],
    "security": STATUSES[403],
    "login": STATUSES[401],
    "expired": STATUSES[401],
    "forbidden": STATUSES[403],
    "throttled": STATUSES[429],
    "timeout": STATUSES[504],
    "transient": _SERVER_ERROR,
    "lock-error": _SERVER_ERROR,
    "no-store": _SERVER_ERROR,
    "exception": _SERVER_ERROR,
    "incomplete": _SERVER_ERROR,
}


def _failure(meaning: Meaning, asked: Asked, status: int, after: float | None) -> SourceFailure:
    code = meaning.document if asked is Asked.DOCUMENT else meaning.attachment
    return SourceFailure(code, status, retry=meaning.retry, after=after if meaning.retry else None)


def status_failure(status: int, asked: Asked, after: float | None = None) -> SourceFailure:
    """Say what a status other than a success means; `after` is its Retry-After in seconds."""
    meaning = STATUSES.get(status)
    if meaning is None:
        meaning = _SERVER_ERROR if 500 <= status < 600 else _CLIENT_ERROR
    return _failure(meaning, asked, status, after)


def issue_failure(codes: list[str], status: int, asked: Asked) -> SourceFailure:
    """Say what an OperationOutcome in place of the resource means, by the first issue type that is known."""
    meaning = next((ISSUES[code] for code in codes if code in ISSUES), _CLIENT_ERROR)
    return _failure(meaning, asked, status, None)


def retry_after(text: str | None, now: float) -> float | None:
    """Read a Retry-After header (RFC 9110 section 10.2.3): seconds, or a date compared with `now`.

    Parameters
    ----------
    now
        Unix seconds.

    Returns
    -------
    float or None
        Seconds from now, not negative; None for no header, or one that is neither.
    """
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _LONGEST_NUMBER else None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    try:
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    except (OverflowError, ValueError, OSError):
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
