"""The sender: tries what is due, again and again with growing pauses, and gives up after a day."""

from __future__ import annotations

import asyncio
from collections import Counter as Counted
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import Allowlist, UrlRefusedError, place_of
from sluice_security.http import GuardedClient
from sluice_security.sealing import Seal, SealBrokenError
from sluice_security.webhooks import signed_headers
from sluice_webhooks.store import MOST_OF_ONE, Attempt, Due, SendStore

log = structlog.get_logger(__name__)

ATTEMPTS = Counter("sluice_webhook_attempts", "Webhook requests made.", ["outcome"])
_AT_ONCE = 128
_FIRST = timedelta(seconds=5)
_LONGEST = timedelta(hours=3)
_LEASE = timedelta(seconds=120)
_LOOK_SECONDS = 1.0


def pause(attempts: int) -> timedelta:
    """Give how long to wait after so many tries: 5 s, three times as long each time, at most three hours."""
    grown: timedelta = _FIRST * 3 ** min(attempts - 1, 10)
    return min(grown, _LONGEST)


class Sending:
    """Makes deliveries.

    Parameters
    ----------
    store
        Where they wait.
    client
        The way out; it dials no address that is not public.
    seal
        Opens endpoints' secrets.
    now
        The time.
    """

    def __init__(
        self, store: SendStore, client: GuardedClient, seal: Seal, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._client = client
        self._seal = seal
        self._now = now

    async def turn(self, stop: asyncio.Event) -> None:
        """Try everything that is due; begin nothing more once `stop` is set.

        An endpoint that is slow to answer holds up only its own, a client with many of them at most itself.

        Raises
        ------
        Unavailable
            The database is away; what was under way is due again later.
        """
        under_way: dict[asyncio.Task[None], Due] = {}
        try:
            while True:
                for due in [] if stop.is_set() else await self._claimed(under_way.values()):
                    under_way[asyncio.create_task(self._try(due))] = due
                if not under_way:
                    return
                done, _ = await asyncio.wait(
                    under_way, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    del under_way[task]
                    task.result()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _claimed(self, under_way: Collection[Due]) -> list[Due]:
        free = _AT_ONCE - len(under_way)
        of_one = Counted(due.endpoint for due in under_way)
        busy = [endpoint for endpoint, count in of_one.items() if count >= MOST_OF_ONE]
        held = Counted(due.client for due in under_way)
        now = self._now()
        return await self._store.claim(now, now + _LEASE, free, busy, held) if free else []

    async def _try(self, due: Due) -> None:
        attempt = await self._sent(due)
        now = self._now()
        ATTEMPTS.labels("delivered" if attempt.taken else "refused" if attempt.status else "failed").inc()
        if attempt.taken:
            await self._store.delivered(due, attempt, now)
        elif attempt.gone:
            await self._give_up(due, attempt, now, "The endpoint answered 410: it is gone.")
        elif now >= due.until:
            note = "The endpoint took nothing for as long as a delivery is tried."
            await self._give_up(due, attempt, now, note)
        else:
            await self._store.postpone(due, attempt, min(now + pause(due.attempts), due.until))

    async def _give_up(self, due: Due, attempt: Attempt, now: datetime, note: str) -> None:
        if await self._store.fail(due, attempt, now, note):
            log.warning("a webhook is disabled", endpoint=due.endpoint, status=attempt.status)

    async def _sent(self, due: Due) -> Attempt:
        try:
            sealed = [due.secret, *([] if due.previous is None else [due.previous])]
            secrets = [self._seal.open(each, due.endpoint) for each in sealed]
            allowed = Allowlist([place_of(due.url, loopback=self._client.loopback)])
        except SealBrokenError:
            return Attempt(error=ItemError.INTERNAL)
        except UrlRefusedError:
            return Attempt(error=ItemError.SOURCE_ADDRESS_REFUSED)
        signed = signed_headers(secrets, due.message, int(self._now().timestamp()), due.body)
        headers = {"Content-Type": "application/json", **signed}
        try:
            # A redirect is an answer like any other: the client does not follow it with a body.
            answer = await self._client.post(due.url, allowed, data=due.body, headers=headers)
        except SourceFailure as failure:
            return Attempt(error=str(failure.code))
        answer.close()
        return Attempt(status=answer.status)
