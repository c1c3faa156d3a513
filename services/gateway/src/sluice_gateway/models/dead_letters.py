"""Dead letters as operators see them: coordinates and codes, never what they hold."""

from __future__ import annotations

from pydantic import Field

from sluice_gateway.models.base import AnswerModel, RequestModel, Time


class DeadLetter(AnswerModel):
    """One message that could not be processed."""

    code: str = Field(description="Why, in the word that events and items use.")
    status: int | None = Field(description="The HTTP status its source answered with, if one did.")
    origin_topic: str = Field(description="Where the message was, with the next two.")
    origin_partition: int
    origin_offset: int
    attempts: int = Field(description="How often it was tried.")
    died_at: Time
    sha256: str = Field(description="Of its value, in hex: to talk about it without quoting it.")


class DeadTopicShown(AnswerModel):
    """A topic's messages that could not be processed and were not tried again."""

    topic: str
    waiting: int = Field(description="How many there are.")
    redrivable: bool = Field(
        description="Whether they can be tried again. Exports and bulk imports settle what died as failed, "
        "in files that tell so: there a new job does the work."
    )
    letters: list[DeadLetter] = Field(description="The newest 20, the last one first.")


class RedriveRequest(RequestModel):
    """Messages to be tried again."""

    topic: str = Field(max_length=200, description="As the list names it.")
    limit: int = Field(100, ge=1, le=1000, description="How many at most, the oldest first.")


class Redriven(AnswerModel):
    """What was done."""

    topic: str
    redriven: int = Field(description="How many messages are on their topic again.")
