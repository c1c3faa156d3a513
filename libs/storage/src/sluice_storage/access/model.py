"""The words of access: a grant, and to whom it is given."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class GranteeKind(StrEnum):
    """To whom a grant is given.

    A client's counts where the client acts for itself (the token's subject is the client), a user's wherever
    that user is the token's subject, through whatever client.
    """

    CLIENT = "client"
    USER = "user"


class Grant(Struct, frozen=True, kw_only=True):
    """Permission to see some patients' data.

    Parameters
    ----------
    id
        Its id (a UUID).
    grantee_kind, grantee
        To whom: a client's id, or a user's as tokens have it.
    all_patients
        Everything in the store, also what is about nobody in particular.
    group
        Else the group whose patients' compartments it is about.
    types
        Of which resource types; None: all.
    granted_by, granted_at
        Which operator gave it, and when.
    expires_at
        It counts before this time only; None: until it is revoked.
    revoked_by, revoked_at
        Which operator took it back, and when.
    """

    id: str
    grantee_kind: GranteeKind
    grantee: str
    all_patients: bool = False
    group: str | None = None
    types: tuple[str, ...] | None = None
    granted_by: str
    granted_at: datetime
    expires_at: datetime | None = None
    revoked_by: str | None = None
    revoked_at: datetime | None = None

    def counts(self, at: datetime) -> bool:
        """Say whether it is neither expired nor revoked at that time."""
        return self.revoked_at is None and (self.expires_at is None or at < self.expires_at)


class GrantPage(Struct, frozen=True):
    """Some grants, the newest first, and how many there are in all."""

    items: tuple[Grant, ...]
    total: int
