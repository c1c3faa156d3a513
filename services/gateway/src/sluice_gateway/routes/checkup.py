"""How the deployment does as a whole: a part of the operators' API."""

from __future__ import annotations

from sluice_gateway.checkup import State
from sluice_gateway.models.checkup import CheckupShown, FindingShown
from sluice_gateway.routing import Answer, Call, Route

TAG = "Operations"
SCOPE = "ops/health"
_WORST = (State.FAILING, State.WARNING)


async def check_deployment(call: Call) -> Answer:
    """Look over the deployment, and say what is wrong and what to do.

    Asks everything anew: Postgres, Kafka and its topics, the object store, other services, sources. It
    answers 200 whatever it finds.
    """
    findings = await call.gateway.checkup()
    states = {finding.state for finding in findings}
    worst = next((state for state in _WORST if state in states), State.OK)
    shown = [
        FindingShown(name=it.name, state=it.state.value, text=it.text, advice=it.advice) for it in findings
    ]
    return Answer(CheckupShown(state=worst.value, findings=shown))


ROUTES = (
    Route("GET", "/v2/ops/health", check_deployment, "Check the deployment", TAG, {200: CheckupShown}, SCOPE),
)
