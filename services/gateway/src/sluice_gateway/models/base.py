"""What all models share: strictness, times, errors and pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
)

from sluice_fhir.search_values import with_plus

MOST_PER_PAGE = 100
Item = TypeVar("Item")


def written_time(at: datetime) -> str:
    """Write a time as the Seven Bridges v2 API does: UTC, whole seconds, `Z`."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[datetime, PlainSerializer(written_time, return_type=str)]
"""A time, written `2026-01-31T12:00:00Z`; the official client's parser knows no other offset."""


def _in_utc(at: datetime) -> datetime:
    """Give the same time in UTC, as which one without an offset is read."""
    try:
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        raise ValueError("must be within the years 1 to 9999 in UTC") from None


def _with_plus(given: Any) -> Any:
    return with_plus(given) if isinstance(given, str) else given


Instant = Annotated[datetime, BeforeValidator(_with_plus), AfterValidator(_in_utc)]
"""A time in an address: UTC once it is read, so that its offset leads beyond no calendar's end later."""
AwareInstant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""The same where the offset must be given."""


class RequestModel(BaseModel):
    """A request's body: what it does not know it refuses, so that a typing error is not a silent default."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class QueryModel(BaseModel):
    """A query string; parameters it does not know are ignored, as the official client sends some."""

    model_config = ConfigDict(extra="ignore")


class AnswerModel(BaseModel):
    """An answer's body."""

    model_config = ConfigDict(extra="forbid", json_schema_serialization_defaults_required=True)


class ErrorBody(AnswerModel):
    """What went wrong; every error answer has this shape."""

    status: int = Field(description="The HTTP status, or a status like it for one item.")
    code: str | int = Field(description="A stable word for programs.")
    message: str = Field(description="What is wrong; lists every field that is.")
    more_info: str = Field(description="What to do about it.")


class PageQuery(QueryModel):
    """Which part of a list is wanted."""

    limit: int = Field(50, ge=0, le=MOST_PER_PAGE, description="The most entries on the page.")
    offset: int = Field(0, ge=0, le=2**31 - 1, description="How many entries come before the page.")


class Link(AnswerModel):
    """Another page of the list."""

    href: str
    rel: str = Field(description="`next` or `prev`.")
    method: str = "GET"


class Page(AnswerModel, Generic[Item]):
    """One page of a list; the header `X-Total-Matching-Query` gives the length of the whole."""

    href: str
    items: list[Item]
    links: list[Link]


class Listed(AnswerModel, Generic[Item]):
    """All entries of a short list."""

    items: list[Item]


JsonObject = dict[str, Any]
