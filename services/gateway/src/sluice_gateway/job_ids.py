"""Ids of jobs, by kind: made for whom a token speaks, and read to tell that a job was accepted at all.

A job's owner is the client and the subject of the token it was submitted with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sluice_contracts.events import JobKind
from sluice_contracts.ids import Keys, accepted_at, derived, is_job_id, job_id
from sluice_contracts.topics import COMMANDS_KEPT
from sluice_security.tokens import Principal

_NOBODY = "00000000-0000-0000-0000-000000000000"
_PURPOSES = {
    JobKind.DOCUMENT_IMPORT: b"sluice job ids",
    JobKind.BULK_EXPORT: b"sluice export ids",
    JobKind.BULK_IMPORT: b"sluice bulk import ids",
}


def id_keys(secrets: Keys, kind: JobKind) -> Keys:
    """Give the keys that ids of one kind of job are signed with; an id of one kind is none of another's."""
    return derived(secrets, _PURPOSES[kind])


def lookup_id(job: str) -> str:
    """Give a job's id as it can be looked up: what is none is looked up as well, and not found."""
    return job if is_job_id(job) else _NOBODY


@dataclass(frozen=True, slots=True)
class JobIds:
    """Makes and reads ids of one kind of job.

    Parameters
    ----------
    keys
        What they are signed with.
    now, nonce
        The wall clock (Unix seconds) and a source of 32 random bits.
    """

    keys: Keys
    now: Callable[[], float]
    nonce: Callable[[], int]

    def new(self, who: Principal) -> tuple[str, float]:
        """Give the id of a job of theirs that is accepted now, and now (Unix seconds)."""
        at = self.now()
        return job_id(self.keys, _owner(who), at, self.nonce()), at

    def unseen(self, who: Principal, job: str) -> datetime | None:
        """Give when a job of theirs was accepted of which nothing but its id may be known yet.

        None: it is not theirs, or was accepted so long ago that its command is not kept any more.
        """
        at = accepted_at(self.keys, _owner(who), job)
        if at is None or self.now() - at >= COMMANDS_KEPT.total_seconds():
            return None
        return datetime.fromtimestamp(at, UTC)


def _owner(who: Principal) -> str:
    return f"{who.client}/{who.subject}"
