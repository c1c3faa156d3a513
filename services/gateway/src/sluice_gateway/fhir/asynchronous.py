"""What exports, imports and submissions share as FHIR's asynchronous requests: answers, and owners.

Whoever is not a request's owner (the client and the subject of the token it was begun with) is told the same
as about one that is unknown, expired, cancelled or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from sluice_contracts.events import JobOutcome
from sluice_gateway.fhir.outcomes import Refusal, refused
from sluice_security.tokens import Principal


@dataclass(frozen=True, slots=True)
class Told:
    """What a poll is answered: a status, header fields, and a manifest if there is one."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    manifest: dict[str, Any] | None = None


class OwnedRow(Protocol):
    """A job as it stands, whoever asks; `gone`: it was deleted or cancelled."""

    @property
    def client(self) -> str: ...  # noqa: D102
    @property
    def subject(self) -> str: ...  # noqa: D102
    @property
    def outcome(self) -> str | None: ...  # noqa: D102
    @property
    def gone(self) -> bool: ...  # noqa: D102


Row = TypeVar("Row", bound=OwnedRow)


def owned(who: Principal, row: Row | None) -> Row:
    """Give the row if it is theirs and still there.

    Raises
    ------
    Refusal
        404: it is not.
    """
    if (
        row is None
        or row.gone
        or (row.client, row.subject) != (who.client, who.subject)
        or row.outcome == JobOutcome.CANCELLED
    ):
        raise not_available()
    return row


def not_available() -> Refusal:
    """Give the one answer for a request that is not there for whoever asks (404)."""
    return refused(404, "forbidden", "The queried request is not available.")
