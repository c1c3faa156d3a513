"""Webhooks: where a client wants to be told of its jobs, and what became of what it was told."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from sluice_contracts.webhooks import TYPES, USUAL
from sluice_gateway.models.base import AnswerModel, PageQuery, RequestModel, Time


def _known(types: list[str]) -> list[str]:
    if not set(types) <= TYPES.keys():
        raise PydanticCustomError("type", "must be of {types}", {"types": ", ".join(TYPES)})
    return list(dict.fromkeys(types))


Types = Annotated[list[str], Field(min_length=1, max_length=100), AfterValidator(_known)]
Url = Annotated[str, Field(min_length=1, max_length=2000)]
_TYPES = f"The types of events to be told of: {', '.join(TYPES)}."


class WebhookRequest(RequestModel):
    """Where to tell a client of its jobs."""

    url: Url = Field(
        description="An https address that takes POST.", examples=["https://portal.example/hook"]
    )
    types: Types = Field(default_factory=lambda: list(USUAL), description=_TYPES)


class WebhookChanges(RequestModel):
    """What to change of a webhook; what is left out stays."""

    url: Url | None = None
    types: Types | None = Field(None, description=_TYPES)
    enabled: bool | None = Field(None, description="`true` also after the service has disabled it.")


class Webhook(AnswerModel):
    """A webhook of a client's."""

    id: str
    href: str
    url: str
    types: list[str]
    enabled: bool
    note: str | None = Field(description="Why the service has disabled it, if it has.")
    created_on: Time
    delivered_on: Time | None = Field(description="When it last took something.")
    previous_secret_until: Time | None = Field(
        description="Until then messages are signed with the secret before the present one, too."
    )


class SecretRotation(RequestModel):
    """How a webhook gets another secret."""

    overlap_hours: float = Field(
        24.0, ge=0, le=168, description="How long messages are signed with the old secret, too."
    )


class NewWebhook(Webhook):
    """A webhook that has just got its secret."""

    secret: str = Field(description="What signatures are made with; it is shown this once.")


class DeliveryState(StrEnum):
    """Where a delivery stands; the last two are final."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class Delivery(AnswerModel):
    """A message to a webhook, and what became of it."""

    id: str
    href: str
    message: str = Field(description="The header `webhook-id`: the same for every try.")
    type: str
    job: str | None
    state: DeliveryState
    attempts: int
    status: int | None = Field(description="HTTP status of the last answer.")
    error: str | None = Field(description="Why there was no answer, as a word.")
    created_on: Time
    due_on: Time | None = Field(description="When it is tried next.")
    ended_on: Time | None


class DeliveriesQuery(PageQuery):
    """Which deliveries are wanted."""

    state: DeliveryState | None = None
