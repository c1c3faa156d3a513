"""Whom the running task works for: who asked for what it does, for the records of acts deep below.

A context variable, as the current trace is.
"""

from __future__ import annotations

from contextvars import ContextVar

import msgspec
from msgspec import Struct

from sluice_storage.audit.model import Record
from sluice_storage.audit.writing import Connection, record
from sluice_telemetry.trace import trace_id


class Agent(Struct, frozen=True):
    """Whose token a request carries, where it came from, and its `X-Request-Id`."""

    client: str
    subject: str
    address: str | None = None
    request: str | None = None


_agent: ContextVar[Agent | None] = ContextVar("sluice_agent", default=None)


def agent() -> Agent | None:
    """Give whom the running task works for; None where nobody asked."""
    return _agent.get()


def act_for(asking: Agent) -> None:
    """Say whom the running task works for from now on; each request is answered by a task of its own."""
    _agent.set(asking)


async def asked(connection: Connection) -> None:
    """Say whom the task works for to the triggers that record acts of the transaction that this is in."""
    asking = agent()
    if asking is not None:
        told = msgspec.json.encode({**msgspec.structs.asdict(asking), "trace": trace_id()}).decode()
        await connection.execute("SELECT set_config('sluice.asked', $1, true)", told)


async def note(connection: Connection, what: Record) -> None:
    """Record an act, by whom the task works for, in the transaction that the connection is in."""
    asking = agent()
    if asking is not None:
        what = msgspec.structs.replace(
            what,
            client=asking.client,
            subject=asking.subject,
            address=asking.address,
            request=asking.request,
        )
    await record(connection, [msgspec.structs.replace(what, trace=trace_id())])
