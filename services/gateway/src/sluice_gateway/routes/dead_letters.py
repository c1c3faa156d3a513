"""Dead letters: a part of the operators' API."""

from __future__ import annotations

from sluice_gateway.models.base import Listed
from sluice_gateway.models.dead_letters import DeadTopicShown, Redriven, RedriveRequest
from sluice_gateway.routing import Answer, Call, Route

TAG = "Dead letters"
SCOPE = "ops/dead-letters"
LIST = "/v2/ops/dead-letters"


async def list_dead_letters(call: Call) -> Answer:
    """List what could not be processed: where it was, why and when, never what it holds."""
    return Answer(await call.gateway.dead_letters.list())


async def redrive_dead_letters(call: Call) -> Answer:
    """Have a topic's dead letters tried again as new messages, the oldest first, each once.

    An item whose message succeeds this time turns from failed to attached, also after its job has ended. The
    letters of exports and bulk imports cannot be tried again: a new job does that work.
    """
    return Answer(await call.gateway.dead_letters.redrive(call.body))


ROUTES = (
    Route("GET", LIST, list_dead_letters, "List dead letters", TAG, {200: Listed[DeadTopicShown]}, SCOPE),
    Route(
        "POST",
        LIST + "/redrive",
        redrive_dead_letters,
        "Try dead letters again",
        TAG,
        {200: Redriven},
        SCOPE,
        body=RedriveRequest,
        example={"topic": "document.fetch", "limit": 100},
    ),
)
