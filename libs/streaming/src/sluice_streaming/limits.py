"""The worker's limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long and how much, in seconds unless said otherwise.

    Parameters
    ----------
    commit_every
        How long a finished record waits for its offset to be committed.
    drain
        How long a rebalance waits for deliveries of partitions that leave.
    stop
        How long a stop waits for deliveries before it releases them to others.
    stuck
        How long there may be lag without any progress before the worker gives up; 0 is for ever.
    attempts
        Deliveries of one message, the first included, before it is dead-lettered, where its step says
        nothing else.
    letters, letter_window
        So many dead letters in so many seconds before the worker pauses.
    unsettled
        Deliveries that may wait for acknowledgements, beside those in handlers.
    """

    commit_every: float = 0.5
    drain: float = 10.0
    stop: float = 20.0
    stuck: float = 300.0
    attempts: int = 8
    letters: int = 100
    letter_window: float = 60.0
    unsettled: int = 1024
