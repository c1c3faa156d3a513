"""Connection pools: asyncpg, opened when Postgres is ready to answer."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

log = structlog.get_logger(__name__)

# Errors that say "not yet": the server is starting, stopping, restarting, short of something or not there.
TRANSIENT = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What a connection says on which the server died in the middle of something.
    asyncpg.InternalClientError,
    # Shut down or cancelled by an operator; out of disk, memory or connections; its disk fails; it has become
    # the standby of another.
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)


# How long a connection whose statement was cancelled is waited for before it is closed instead.
_RELEASE_SECONDS = 1.0


class _Pool(asyncpg.Pool):
    async def release(self, connection: PoolConnectionProxy, *, timeout: float | None = None) -> None:
        """Take a connection back.

        Whoever gave up on a statement would else wait as long as one may take for a server that has fallen
        silent to cancel it, and readiness with them.
        """
        await super().release(connection, timeout=_RELEASE_SECONDS if timeout is None else timeout)


async def open_pool(
    dsn: str, *, size: int = 4, wait: float = 120.0, application: str = "sluice", scans: bool = True
) -> asyncpg.Pool:
    """Open a pool of up to `size` connections, waiting up to `wait` seconds for Postgres to answer.

    Parameters
    ----------
    scans
        Whether statements may read whole tables. Where each finds its rows by an index, a plan that was made
        while a table was empty, and is kept, must not read all of it once it is full.

    Raises
    ------
    OSError or asyncpg.PostgresError
        Postgres did not answer in time, or refused for a reason that waiting does not change.
    """
    deadline = time.monotonic() + wait
    pause = 0.1
    while True:
        try:
            return await _Pool(
                dsn,
                min_size=1,
                max_size=size,
                max_queries=50_000,
                max_inactive_connection_lifetime=300.0,
                loop=None,
                connection_class=asyncpg.Connection,
                record_class=asyncpg.Record,
                command_timeout=60,
                reset=_leave_session,
                server_settings={
                    "application_name": application,
                    "jit": "off",
                    **({} if scans else {"enable_seqscan": "off"}),
                },
            )
        except TRANSIENT as error:
            if time.monotonic() + pause > deadline:
                raise
            log.info("waiting for Postgres", error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)


async def _leave_session(_connection: object) -> None:
    """Put nothing back in a session whose connection returns to the pool.

    asyncpg rolls an open transaction back by itself. Its default then resets settings, listeners and advisory
    locks by one more round trip for every use of the pool; nothing here leaves any of these behind.
    """
