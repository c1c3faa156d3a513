"""Waiting for what may take for ever, such as a broker that is down, without becoming deaf to a stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class StoppedError(Exception):
    """A stop was asked for before what it interrupted was done."""


async def unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T:
    """Do `work` and give its result, unless `stop` is set first, which cancels it.

    Raises
    ------
    StoppedError
        The stop came first.
    """
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise StoppedError
        return working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work` unless `stop` is set first, which cancels it; give whether it was done."""
    try:
        await unless_stopped(stop, work)
    except StoppedError:
        return False
    return True
