"""Document import jobs: what is submitted, what is answered, what a poll shows."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from sluice_contracts.commands import ConflictResolution
from sluice_contracts.events import JobOutcome
from sluice_gateway.metadata import Metadata
from sluice_gateway.models.base import AnswerModel, ErrorBody, Link, PageQuery, RequestModel, Time
from sluice_gateway.models.files import File, FileName, Tags
from sluice_gateway.references import DocumentReferenceUri

MOST_ITEMS = 100
FOLDER_ID = "^[0-9a-f]{24}$"
PROJECT_ID = r"^[^/\s\x00-\x1f\x7f]{1,100}/[^/\s\x00-\x1f\x7f]{1,100}/?$"


class ImportItem(RequestModel):
    """One document to import, and where to."""

    fhir_document_reference: DocumentReferenceUri
    parent: str | None = Field(
        None, pattern=FOLDER_ID, description="Id of the target folder. Not together with `project`."
    )
    project: str | None = Field(
        None,
        pattern=PROJECT_ID,
        validate_default=True,
        description="`owner/project-slug`: import to the root of this project. Not together with `parent`.",
        examples=["rfranklin/my-project"],
    )
    name: FileName | None = Field(None, description="The file's name; otherwise the document's own.")
    metadata: Metadata | None = Field(None, description="Wins over what is found at the source.")

    @field_validator("project", mode="after")
    @classmethod
    def _one_destination(cls, project: str | None, info: ValidationInfo) -> str | None:
        # A parent that is itself wrong is not in `data`, and has been reported.
        if "parent" in info.data:
            parent = info.data["parent"]
            if parent is not None and project is not None:
                raise PydanticCustomError("destination", "must not be given together with parent")
            if parent is None and project is None:
                raise PydanticCustomError("destination", "or parent is required")
        return project.rstrip("/") if project is not None else None


class ImportRequest(RequestModel):
    """A bulk import of FHIR DocumentReferences."""

    items: list[ImportItem] = Field(
        min_length=1, max_length=MOST_ITEMS, description="The documents, up to 100 in one call."
    )
    conflict_resolution: ConflictResolution = Field(
        ConflictResolution.SKIP, description="What to do when the folder already has the name."
    )
    tags: Tags | None = Field(None, description="Labels for every file of the job.")


class JobStateName(StrEnum):
    """Where a job stands."""

    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"


class ItemStateName(StrEnum):
    """Where one item stands; the last four are final."""

    PENDING = "PENDING"
    RETRYING = "RETRYING"
    FETCHED = "FETCHED"
    SCRAPED = "SCRAPED"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    ATTACHED = "ATTACHED"


class JobAccepted(AnswerModel):
    """The job is accepted: it will be carried out whatever happens to this server."""

    id: str
    href: str
    state: JobStateName


class ItemCounts(AnswerModel):
    """How many of a job's items have come how far."""

    total: int
    attached: int
    skipped: int
    failed: int
    cancelled: int
    pending: int


class ImportResult(AnswerModel):
    """What became of one item. `resource` is its file; `error` says why there is none."""

    item: int = Field(description="The item's position in the request, from 0.")
    fhir_document_reference: str
    state: ItemStateName
    resource: File | None
    error: ErrorBody | None
    warnings: list[str] = Field(
        description="Metadata keys that the scrape schema requires and the source had no value of; told for"
        " seven days after the job's end, or as long as operators say."
    )
    other_contents: int = Field(
        description="How many further contents the document has; one of them is imported."
    )
    document_version: str | None = Field(
        description="Which version of the document was imported (`meta.versionId`), if its source says."
    )


class JobSummary(AnswerModel):
    """A job without its items."""

    id: str
    href: str
    state: JobStateName
    outcome: JobOutcome | None = Field(description="How it ended, once it has.")
    counts: ItemCounts
    submitted_on: Time
    started_on: Time | None
    finished_on: Time | None
    eta: Time | None = Field(description="When it will have ended, while it runs and that can be told.")


class Job(JobSummary):
    """A job with a page of its results, in the order of the request."""

    result: list[ImportResult]
    links: list[Link]


class JobQuery(PageQuery):
    """Which part of a job's results is wanted."""

    limit: int = Field(MOST_ITEMS, ge=0, le=MOST_ITEMS, description="The most results on the page.")


class ForecastName(StrEnum):
    """What conflict resolution would make of an item."""

    CREATED = "created"
    RENAMED = "renamed"
    REPLACED = "replaced"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


class Forecast(AnswerModel):
    """What would happen to one item; `unknown` where the file's name is not known before it is fetched."""

    item: int
    outcome: ForecastName
    name: str | None = Field(description="The name the file would get.")
    conflicts_with: str | None = Field(description="Id of the file or folder that has the name now.")


class DryRun(AnswerModel):
    """What an import would do, as things are now; nothing was done."""

    items: list[Forecast]


EXAMPLE: dict[str, Any] = {
    "conflict_resolution": "SKIP",
    "items": [
        {
            "fhir_document_reference": "https://hapi.fhir.org/baseR4/DocumentReference/44765605",
            "project": "rfranklin/fhir-import/",
            "name": "test-file.ext",
            "metadata": {"study_id": "1", "cohort": 4},
        }
    ],
    "tags": ["INCLUDE"],
}
"""A request as the API's description shows it."""
