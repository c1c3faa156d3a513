"""Sources as operators see them: everything but the secrets."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sluice_gateway.models.base import AnswerModel


class SourceShown(AnswerModel):
    """A registered source server."""

    href: str
    id: str
    name: str
    base_url: str
    auth: dict[str, Any] = Field(description="The kind of authorization and its names; never a secret.")
    max_requests_per_second: float | None
    max_concurrency: int
    scrape_schema: str | None
    attachment_prefixes: list[str]
    content_types: list[str]
    enabled: bool
    software: str | None
    fhir_version: str | None
    revision: int


class KeySet(AnswerModel):
    """Public keys (RFC 7517)."""

    keys: list[dict[str, Any]]
