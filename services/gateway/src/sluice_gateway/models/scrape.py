"""Scrape schemas: what there is, and what a document would yield."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sluice_gateway.metadata import Metadata
from sluice_gateway.models.base import AnswerModel, RequestModel
from sluice_gateway.references import DocumentReferenceUri


class SchemaKey(AnswerModel):
    """A metadata key that a schema makes."""

    key: str
    type: str
    required: bool
    description: str | None


class SchemaShown(AnswerModel):
    """A scrape schema, as it stands."""

    name: str
    version: str | int
    title: str | None
    description: str | None
    match: list[dict[str, Any]] = Field(description="Which servers it is for.")
    follows: list[str] = Field(description="Types of resources that it reads beside the document.")
    keys: list[SchemaKey]


class TrialRequest(RequestModel):
    """A document to try a schema on."""

    fhir_document_reference: DocumentReferenceUri
    schema_name: str | None = Field(
        None,
        alias="schema",
        min_length=1,
        max_length=200,
        description="`name` or `name@version`; otherwise the one that matches the source.",
    )
    metadata: Metadata | None = Field(None, description="What an import would give with the item.")


class TrialWarning(AnswerModel):
    """Something to know: a required key without a value, or a resource that could not be read."""

    code: str
    key: str | None
    follow: str | None


class TrialReading(AnswerModel):
    """One reading from the source; `url` is relative to it."""

    follow: str
    url: str
    outcome: str
    resources: int


class Trial(AnswerModel):
    """What an import of the document would yield."""

    schema_name: str = Field(alias="schema", serialization_alias="schema")
    metadata: dict[str, Any]
    warnings: list[TrialWarning]
    requests: list[TrialReading]
