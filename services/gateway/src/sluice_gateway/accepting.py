"""Accepting jobs of every kind: an id, the Idempotency-Key that stands for it, and its first record.

A job is accepted when its first record is acknowledged on Kafka, and not before; until then nothing has
happened that a client would have to undo.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sluice_gateway.idempotency import KeyStore, conflict
from sluice_gateway.job_ids import JobIds
from sluice_gateway.publishing import Commands, Start
from sluice_security.tokens import Principal


@dataclass(frozen=True, slots=True)
class Claim:
    """Which job a request stands for, when that was accepted (Unix seconds), and whether it is published.

    `who` asks for it, under the Idempotency-Key `key`; None: under none, and the job is this request's own.
    """

    job: str
    at: float
    published: bool
    who: Principal
    key: str | None


class Accepting:
    """Accepts jobs of one kind.

    Parameters
    ----------
    ids
        Makes their ids.
    keys
        What idempotency keys stand for.
    commands
        Puts commands on Kafka.
    """

    def __init__(self, ids: JobIds, keys: KeyStore, commands: Commands) -> None:
        self._ids = ids
        self._keys = keys
        self._commands = commands

    async def claim(self, who: Principal, key: str | None, request: bytes) -> Claim:
        """Give the job that a request stands for: a new one, or the one that its key stands for already.

        Parameters
        ----------
        request
            The request's digest.

        Raises
        ------
        Problem
            422: the key was used for another request.
        """
        job, at = self._ids.new(who)
        if key is None:
            return Claim(job, at, published=False, who=who, key=None)
        kept = await self._keys.keep(
            who.client, who.subject, key, request, job, datetime.fromtimestamp(at, UTC)
        )
        if kept.request != request:
            raise conflict()
        return Claim(kept.job, kept.accepted_at.timestamp(), kept.published, who, key)

    async def begin(self, claim: Claim, command: Start) -> None:
        """Publish what begins a claimed job.

        Raises
        ------
        Problem
            503 or 413, as `Commands.start` does: the job is not accepted.
        """
        # Under a key a repeat publishes the same job again; without one, nobody would ever claim it.
        await self._commands.start(command, withdraw=claim.key is None)
        if claim.key is not None:
            self._commands.later(self._keys.published(claim.who.client, claim.who.subject, claim.key))
