"""What there is from the start: the client of the gateway's page, and the people that the settings name."""

from __future__ import annotations

from dataclasses import replace

from sluice_auth.model import Action, AuthMethod, Client, GrantType
from sluice_auth.passwords import Passwords
from sluice_auth.people import fold_name
from sluice_auth.ports import Store
from sluice_auth.trail import audited
from sluice_auth.user_accounts import AccountError, Accounts
from sluice_security.scopes import Scopes

DASHBOARD = "sluice-dashboard"
DASHBOARD_SCOPES = Scopes.parse(
    "bulk/import files/read files/write user/*.rs offline_access ops/jobs ops/sources ops/dead-letters"
)


async def put_dashboard(store: Store, gateway: str, *, now: float) -> bool:
    """See to it that the gateway's page is a client: a public one, that acts for people alone.

    Parameters
    ----------
    gateway
        The gateway's address as people's browsers see it.

    Returns
    -------
    bool
        Whether anything had to be changed.
    """
    client = Client(
        id=DASHBOARD,
        name="Sluice",
        method=AuthMethod.NONE,
        grants=(GrantType.AUTHORIZATION_CODE, GrantType.REFRESH_TOKEN),
        scopes=DASHBOARD_SCOPES,
        created_at=now,
        redirects=(f"{gateway}/dashboard/signed-in",),
    )
    present = await store.client(DASHBOARD)
    if present is not None and replace(present, created_at=now) == client:
        return False
    async with audited(store, Action.REGISTER, now) as act:
        act.note(client=client.id)
        await act.work.add_client(client)
    return True


async def put_people(
    store: Store, passwords: Passwords, people: list[tuple[str, str, bool]], *, now: float
) -> None:
    """See to it that there are these people: (name, password, whether an operator). Who is there stays."""
    for name, password, operator in people:
        async with store.begin() as work:
            present = await work.people.user_named(fold_name(name) or "")
        if present is None:
            try:
                await Accounts(store, passwords).add(name, password, now=now, operator=operator)
            except AccountError:
                continue  # another process of this service was faster
