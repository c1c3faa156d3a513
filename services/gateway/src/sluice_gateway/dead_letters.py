"""Dead letters from an operator's side: how many there are and why, and having them tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from sluice_contracts.topics import TOPICS, Topic
from sluice_gateway.models.base import Listed
from sluice_gateway.models.dead_letters import DeadLetter, DeadTopicShown, Redriven, RedriveRequest
from sluice_gateway.problems import FieldProblem, invalid, unavailable
from sluice_streaming.letters_reading import DeadTopic

T = TypeVar("T")
Look = Callable[[], Awaitable[Sequence[DeadTopic]]]
"""Gives what waits in the dead-letter topics; raises Unavailable."""
Redrive = Callable[[Topic, int], Awaitable[int]]
"""Has up to so many letters of a topic tried again and gives how many; raises Unavailable."""

# Joining a group takes Kafka some seconds; more letters than fit are for another call.
_PATIENCE_SECONDS = 25.0


class DeadLetters:
    """What operators can ask about dead letters.

    Parameters
    ----------
    look, redrive
        See there; the log itself.
    """

    def __init__(self, look: Look, redrive: Redrive) -> None:
        self._look = look
        self._redrive = redrive

    async def list(self) -> Listed[DeadTopicShown]:
        """Give every topic that can have dead letters, and those; Problem 503 if nobody can tell."""
        return Listed(items=[_shown(topic) for topic in await _within_patience(self._look())])

    async def redrive(self, wish: RedriveRequest) -> Redriven:
        """Have a topic's letters tried again, the oldest first.

        Raises
        ------
        Problem
            400: there is no such topic, or trying its letters again would change nothing; 503: the log did
            not answer in time. What was done stays done.
        """
        topic = next((each for each in TOPICS if each.name == wish.topic and each.retries), None)
        if topic is None:
            raise invalid([FieldProblem("topic", "is not a topic with dead letters")])
        if not topic.redrivable:
            raise invalid(
                [FieldProblem("topic", "has letters of work that ended as failed: start the job again")]
            )
        return Redriven(topic=topic.name, redriven=await _within_patience(self._redrive(topic, wish.limit)))


async def _within_patience(work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await work
    except TimeoutError:
        raise unavailable("its message log") from None


def _shown(topic: DeadTopic) -> DeadTopicShown:
    letters = [
        DeadLetter(
            code=letter.code,
            status=letter.status,
            origin_topic=letter.origin_topic,
            origin_partition=letter.origin_partition,
            origin_offset=letter.origin_offset,
            attempts=letter.attempts,
            died_at=datetime.fromtimestamp(letter.died, UTC),
            sha256=letter.sha256,
        )
        for letter in topic.letters
    ]
    redrivable = next((each.redrivable for each in TOPICS if each.name == topic.topic), True)
    return DeadTopicShown(topic=topic.topic, waiting=topic.waiting, redrivable=redrivable, letters=letters)
