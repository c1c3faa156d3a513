"""Whether objects may be removed now: not while a backup copies what the rows of its beginning name.

What is to be removed stays marked, and goes when the backup has ended. The lock is of the backup's session:
one that dies holds nobody off.
"""

from __future__ import annotations

import asyncpg

HOLD = "SELECT pg_advisory_lock(hashtext('sluice backup'))"
"""Holds removals off until the session ends; waits for those that are under way."""
_MAY = "SELECT pg_try_advisory_xact_lock_shared(hashtext('sluice backup'))"


async def may_remove(connection: asyncpg.pool.PoolConnectionProxy | asyncpg.Pool) -> bool:
    """Say whether objects may be removed: true until the transaction ends that asks it.

    Asked outside of a transaction it is true of that moment only. That is enough for objects that rows have
    stopped naming before: a backup that begins now does not miss them.
    """
    return bool(await connection.fetchval(_MAY))
