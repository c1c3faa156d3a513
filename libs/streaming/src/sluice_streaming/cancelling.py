"""Telling a task's own cancellation from that of something it waited for; both look the same to `except`."""

from __future__ import annotations

import asyncio


def being_cancelled() -> bool:
    """Say whether it is the running task itself that is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
