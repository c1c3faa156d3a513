"""The authorization server's process: `python -m sluice_auth`."""

from __future__ import annotations

import asyncio
import time

import structlog
from aiohttp import web

from sluice_auth.first_things import put_dashboard, put_people
from sluice_auth.guarded_keys import LIMITS, fetching
from sluice_auth.keyring import Keyring
from sluice_auth.operator_clients import put_operator
from sluice_auth.passwords import Passwords
from sluice_auth.postgres import PostgresStore
from sluice_auth.settings import Settings
from sluice_auth.wiring import assemble
from sluice_security.http import GuardedClient
from sluice_security.serving import QuietRunner, served
from sluice_storage.pool import TRANSIENT, open_pool
from sluice_streaming.service import Context, run
from sluice_streaming.starting import unless

log = structlog.get_logger(__name__)

# Shorter than a new key is published before it signs, so that every process has it by then.
_TICK = 15.0


class Upkeep:
    """Keeps the keys fresh and the tables small, and knows whether the store answers."""

    def __init__(self, keyring: Keyring, store: PostgresStore) -> None:
        self._keyring = keyring
        self._store = store
        self._trouble = "starting"

    def ready(self) -> bool | str:
        """Tell whether tokens can be issued, and if not, why."""
        return self._trouble or self._keyring.ready or "no signing key"

    async def once(self) -> None:
        """Do what is due.

        Raises
        ------
        KeysUnreadableError
            The keys were sealed under another secret.
        """
        try:
            await self._keyring.refresh()
            await self._store.forget(time.time())
        except TRANSIENT as error:
            self._trouble = "Postgres does not answer"
            log.warning("upkeep waits for Postgres", error=type(error).__name__)
        else:
            self._trouble = ""

    async def run(self) -> None:
        """Do what is due, again and again."""
        while True:
            await asyncio.sleep(_TICK)
            await self.once()


async def main(context: Context) -> None:
    """Serve until asked to stop."""
    settings = Settings()
    async with (
        GuardedClient(limits=LIMITS, loopback=settings.loopback_sources) as outgoing,
        await context.starting(
            open_pool(settings.postgres, size=settings.pool, application="sluice auth")
        ) as pool,
    ):
        store = PostgresStore(pool)
        service = assemble(
            settings,
            store,
            store,
            now=time.time,
            monotonic=time.monotonic,
            fetch=fetching(outgoing, loopback=settings.loopback_sources),
            ready=context.ready,
            away=TRANSIENT,
        )
        upkeep = Upkeep(service.keyring, store)
        await upkeep.once()
        if settings.operator is not None:
            await put_operator(store, *settings.operator, name="bootstrap operator", now=time.time())
        if settings.dashboard:
            await put_dashboard(store, settings.public_url, now=time.time())
        await put_people(store, Passwords(), settings.people, now=time.time())
        context.watch(upkeep.ready)
        await _serve(service.app, settings, upkeep, context.stop)


async def _serve(app: web.Application, settings: Settings, upkeep: Upkeep, stop: asyncio.Event) -> None:
    host, _, port = settings.listen.rpartition(":")
    runner = QuietRunner(app, access_log=None, handle_signals=False, shutdown_timeout=10.0)
    async with served(runner, host or None, int(port), settings.tls()):
        await unless(stop, upkeep.run())


if __name__ == "__main__":
    run("auth", main)
