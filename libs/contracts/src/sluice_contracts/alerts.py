"""Alerts: what whoever watches the events thinks somebody should look at.

An alert says what was so at `at` (Unix seconds). It is told when it begins to hold, and `AlertEnded` when it
does no more, also if either came while the watcher was away. Each is told at least once.
Alerts hold ids and counts, and no health information.
"""

from __future__ import annotations

from msgspec import Struct

from sluice_contracts.bounds import Bytes, Count, Seconds, Word
from sluice_contracts.events import JobKind


class Alert(Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something worth looking at, as of `at`."""

    at: Seconds


class JobStuck(Alert, frozen=True, kw_only=True, tag="JobStuck"):
    """Nothing was heard of a running job since `since`; `pending` of its items have not ended."""

    job: Word
    kind: JobKind
    since: Seconds
    pending: Count


class SourceFailing(Alert, frozen=True, kw_only=True, tag="SourceFailing"):
    """A source answers badly.

    Within `seconds`, `faults` attempts failed for its reasons, and `items` ended well.
    """

    source: Word
    seconds: Seconds
    faults: Bytes
    items: Bytes


class AlertEnded(Alert, frozen=True, kw_only=True, tag="AlertEnded"):
    """What was told at `since` holds no more: `alert` is its type, `about` its job or source."""

    alert: Word
    about: Word
    since: Seconds


InsightAlert = JobStuck | SourceFailing | AlertEnded
