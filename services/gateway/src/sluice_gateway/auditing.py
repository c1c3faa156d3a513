"""Recording what requests disclose, and what they are refused.

A disclosure is on record before its first byte leaves: what cannot be recorded is not disclosed. Requests
that are under way at once share a statement.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from aiohttp import hdrs, web

from sluice_contracts.audit import DENIED, FAILED, SUCCESS
from sluice_gateway.audit_rules import RULES, Rule
from sluice_gateway.problems import Problem
from sluice_security.callers import Origins
from sluice_security.tokens import Principal
from sluice_storage.audit import Record
from sluice_storage.audit.acting import Agent, act_for, agent
from sluice_storage.coalesce import Coalescer
from sluice_telemetry.trace import trace_id

ID = web.RequestKey("id", str)
"""A request's `X-Request-Id`."""
Tell = Callable[[], Awaitable[None]]
_TELL: web.RequestKey[Tell] = web.RequestKey("audit")
_NOTES = web.RequestKey("audit notes", dict[str, Any])
_REFUSALS = {403: FAILED, 404: DENIED}
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Records(Protocol):
    """Where records are kept; see `sluice_gateway.stores.audit`."""

    async def add(self, records: Sequence[Record]) -> None:
        """Keep records; they are durable when this returns."""


def note(request: web.Request, **fields: Any) -> None:
    """Add to what will be recorded of a request: fields of `Record`; ids and counts, never what data say."""
    request[_NOTES] = {**request.get(_NOTES, {}), **fields}


async def disclosing(request: web.Request, response: web.StreamResponse) -> None:
    """Record that a request is about to be answered; for handlers that stream, before they begin.

    Raises
    ------
    OSError, asyncpg.PostgresError
        It is not on record, and must not be answered.
    """
    tell = request.get(_TELL)
    # Whoever has it already is told nothing; a refusal is recorded as what it is.
    if tell is not None and response.status in (200, 206):
        await tell()
        del request[_TELL]


class Auditing:
    """Records requests.

    Parameters
    ----------
    records
        Where records are kept.
    origins
        Where requests come from.
    """

    def __init__(self, records: Records, origins: Origins) -> None:
        async def add(batch: Sequence[Record]) -> Sequence[None]:
            await records.add(batch)
            return [None] * len(batch)

        self._origins = origins
        # Each of a tick's requests waits for the one statement, and no request for the next tick.
        self._add: Coalescer[Record, None] = Coalescer(add, lanes=4, pace=0.0)

    def asked_by(self, request: web.Request, who: Principal) -> None:
        """Say whose token a request carries: acts that it leads to are theirs."""
        address = self._origins(request) or None
        act_for(Agent(who.client, who.subject, address, request.get(ID)))

    def audited(self, operation: str, serve: Serve) -> Serve:
        """Give what serves an operation's requests and records them."""
        rule = RULES.get(operation)

        if rule is None:
            return serve

        async def serve_recorded(request: web.Request) -> web.StreamResponse:
            # Who asks for the head alone is given nothing of what is behind it.
            if rule.discloses and request.method != hdrs.METH_HEAD:
                request[_TELL] = lambda: self._tell(rule, request)
            try:
                response = await serve(request)
            except Problem as problem:
                await self._refused(rule, request, problem)
                raise
            await disclosing(request, response)
            return response

        return serve_recorded

    async def _tell(self, rule: Rule, request: web.Request) -> None:
        if not rule.when_noted or request.get(_NOTES):
            await self._add(self._record(rule, request, SUCCESS))

    async def _refused(self, rule: Rule, request: web.Request, problem: Problem) -> None:
        outcome = _REFUSALS.get(problem.status)
        known = agent() is not None or "subject" in request.get(_NOTES, {})
        if outcome is not None and known:
            await self._add(self._record(rule, request, outcome, problem.code))

    def _record(self, rule: Rule, request: web.Request, outcome: int, reason: str | None = None) -> Record:
        asking = agent()
        fields: dict[str, Any] = {
            "client": None if asking is None else asking.client,
            "subject": None if asking is None else asking.subject,
            **rule.about(request.match_info),
            **request.get(_NOTES, {}),
        }
        return Record(
            act=rule.act,
            outcome=outcome,
            reason=reason,
            address=self._origins(request) or None,
            request=request.get(ID),
            trace=trace_id(),
            **fields,
        )
