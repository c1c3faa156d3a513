"""Operators' clients: the only ones that may have operators' scopes, and never by signing up."""

from __future__ import annotations

from sluice_auth.client_secrets import digest, matches
from sluice_auth.model import Action, AuthMethod, Client, GrantType
from sluice_auth.ports import Store
from sluice_auth.revocation import revoke_client
from sluice_auth.trail import audited
from sluice_security.scopes import PLAIN, Scopes

OPERATOR_SCOPES = Scopes.parse(" ".join(["ops/*", *sorted(PLAIN)]))


async def put_operator(store: Store, client_id: str, secret: str, *, name: str, now: float) -> bool:
    """See to it that there is an operator's client of that id and secret.

    Returns
    -------
    bool
        Whether anything had to be changed.
    """
    present = await store.client(client_id)
    if present is not None and present.operator and matches(secret, present.secret_hash):
        return False
    client = Client(
        id=client_id,
        name=name,
        method=AuthMethod.BASIC,
        grants=(GrantType.CLIENT_CREDENTIALS,),
        scopes=OPERATOR_SCOPES,
        created_at=now,
        secret_hash=digest(secret),
        operator=True,
    )
    async with audited(store, Action.ADD_OPERATOR, now) as act:
        act.note(client=client_id)
        await act.work.add_client(client)
    return True


async def remove_client(store: Store, client_id: str, *, now: float, lifetime: float) -> bool:
    """Remove a client, whoever's it is, and void its tokens; False if there is none of that id."""
    async with audited(store, Action.REMOVE_CLIENT, now) as act:
        client = await act.work.client(client_id)
        if client is None:
            return False
        act.note(client=client.id)
        await act.work.remove_client(client.id, now)
        await revoke_client(act.work, client.id, now=now, lifetime=lifetime)
        return True
