"""Who is asking and how much they may: `/v2/user` and `/v2/rate_limit`."""

from __future__ import annotations

from pydantic import Field

from sluice_gateway.models.base import AnswerModel


class User(AnswerModel):
    """Whom the token speaks for."""

    href: str
    username: str
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    affiliation: str | None = None
    country: str | None = None
    role: str | None = None


class Rate(AnswerModel):
    """A quota."""

    limit: int = Field(description="Calls in the window; -1: without limit.")
    remaining: int
    reset: int | None = Field(description="From when more of it is free, in epoch seconds.")


class RateLimit(AnswerModel):
    """The client's quotas."""

    rate: Rate
    instance_limit: Rate


class Endpoints(AnswerModel):
    """Where things are."""

    rate_limit_url: str
    user_url: str
    projects_url: str
    files_url: str
    bulk_import_url: str
    sources_url: str
    openapi_url: str
    docs_url: str


class Health(AnswerModel):
    """Whether each thing the service needs answers."""

    status: str
    checks: dict[str, str]
