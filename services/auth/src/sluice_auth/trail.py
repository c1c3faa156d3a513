"""The audit trail: every act and every refusal leaves a record, written in the transaction of the act."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sluice_auth.errors import OAuthError
from sluice_auth.model import Action, Entry
from sluice_auth.ports import Store, Work


class Act:
    """Something that is being done: its transaction, and what its record will say."""

    def __init__(self, work: Work, entry: Entry) -> None:
        self.work = work
        self.entry = entry

    def note(
        self, *, client: str | None = None, subject: str | None = None, token: str | None = None
    ) -> None:
        """Add to the record. Only ids that were verified; never what a caller merely claims."""
        self.entry = replace(
            self.entry,
            client=client or self.entry.client,
            subject=subject or self.entry.subject,
            token=token or self.entry.token,
        )

    def refuse(self, error: OAuthError) -> None:
        """Say that it was refused, where that is not the end of what is being done."""
        self.entry = replace(self.entry, outcome=error.error)


@asynccontextmanager
async def audited(store: Store, action: Action, at: float) -> AsyncIterator[Act]:
    """Do something in a transaction that ends with its audit record.

    A refusal (`OAuthError`) is recorded too, and what it used up stays used, so that an assertion is spent
    even if what it was to give is refused; then it goes on to the caller. Anything else undoes it all.
    """
    refusal: OAuthError | None = None
    async with store.begin() as work:
        act = Act(work, Entry(at=at, action=action))
        try:
            yield act
        except OAuthError as error:
            refusal = error
            act.entry = replace(act.entry, outcome=error.error)
        await work.record(act.entry)
    if refusal is not None:
        raise refusal
