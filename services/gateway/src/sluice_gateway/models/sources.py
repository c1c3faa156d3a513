"""Sources as operators see them: everything but the secrets."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sluice_gateway.models.base import AnswerModel, Time


class SourceShown(AnswerModel):
    """A registered source server."""

    href: str
    id: str
    name: str
    base_url: str
    auth: dict[str, Any] = Field(
        description="The kind of authorization and its names; never a secret. `unreadable`: what is stored "
        "was sealed under a secret that is not known here, and nothing is read there until it is given anew."
    )
    max_requests_per_second: float | None
    max_concurrency: int
    scrape_schema: str | None
    attachment_prefixes: list[str]
    content_types: list[str]
    enabled: bool
    clients: list[str] = Field(description="Who may import from it; none: every client with the scope.")
    type_filters: bool = Field(description="Its $export understands _typeFilter.")
    request_headers: list[str] = Field(
        description="Header fields that submitters may have sent along with requests for their files."
    )
    software: str | None
    fhir_version: str | None
    revision: int


class SourceMinute(AnswerModel):
    """The answers of one minute."""

    at: Time
    good: int = Field(description="Answers that were neither refusals nor errors of the server's.")
    refused: int = Field(description="429 and 503.")
    failed: int = Field(description="Other errors of the server's, and no answer at all.")
    mean_seconds: float | None = Field(description="How long answers took to begin.")


class SourceAlert(AnswerModel):
    """What makes a source worth looking at."""

    noticed_on: Time
    seconds: float = Field(description="It was looked at over so many seconds.")
    failed: int = Field(description="Attempts that failed for the source's reasons.")
    ended_well: int = Field(description="Items that ended well meanwhile.")


class SourceHealth(AnswerModel):
    """How a source does, as all processes that call it see it together."""

    source: str
    state: Literal["unused", "ok", "slowed", "held", "failing"] = Field(
        description="`slowed`: it gets fewer calls than registered, because it refused some or became slow; "
        "`held`: it asked to be left alone; `failing`: nothing of the last minutes was good."
    )
    at_once: float = Field(description="Calls that may be under way at once now.")
    per_second: float | None = Field(description="Calls that may begin in a second now; null: no limit.")
    registered_at_once: int
    registered_per_second: float | None
    held_until: Time | None = Field(description="It asked to be left alone until then.")
    usual_seconds: float | None = Field(description="How long it usually takes to begin to answer.")
    calls_per_second: float = Field(description="How many calls it gets now.")
    processes: int = Field(description="How many processes call it now.")
    recent: list[SourceMinute]
    alert: SourceAlert | None = Field(description="What was noticed of it, while that holds.")


class KeySet(AnswerModel):
    """Public keys (RFC 7517)."""

    keys: list[dict[str, Any]]
