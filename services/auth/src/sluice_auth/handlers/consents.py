"""`/oauth/consents`: what a user let applications do, and taking it back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from sluice_auth.consents import ConsentService
from sluice_auth.handlers.authorize import PAGES, Browsing, shown_name
from sluice_auth.handlers.browser import see_other
from sluice_auth.handlers.forms import read_form
from sluice_auth.handlers.page_messages import WithdrawForm
from sluice_auth.handlers.routing import Proof, Route, served
from sluice_auth.handlers.scope_words import describe
from sluice_auth.people import Consent
from sluice_auth.sessions import SessionService


class ConsentHandlers:
    """Shows a user's consents."""

    def __init__(self, consents: ConsentService, sessions: SessionService, browsing: Browsing) -> None:
        self._consents = consents
        self._sessions = sessions
        self._browsing = browsing

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return served(self, ROUTES, self._browsing.guarded)

    async def consents(self, request: web.Request) -> web.Response:
        """List what the user let applications do."""
        browsing = self._browsing
        session = browsing.cookies.session(request)
        user = await self._sessions.user(session)
        if user is None or session is None:
            return browsing.sign_in(request, "", None)
        return browsing.pages.show(
            "consents",
            user=user.name,
            entries=[self._entry(consent) for consent in await self._consents.of(user)],
            proof=browsing.proof.make(session, "withdraw"),
            sign_out_proof=browsing.proof.make(session, "sign-out"),
        )

    async def withdraw(self, request: web.Request) -> web.Response:
        """Take back all that the user let an application do."""
        form = await read_form(request)
        browsing = self._browsing
        session = browsing.cookies.session(request)
        user = await self._sessions.user(session)
        if user is not None:
            browsing.proof.check(request, form.get("proof"), session, "withdraw")
            await self._consents.withdraw(user, form.require("client_id"))
        return see_other(f"{browsing.base}/oauth/consents")

    def _entry(self, consent: Consent) -> dict[str, Any]:
        return {
            "client": shown_name(consent.client_name),
            "client_id": consent.client,
            "resource": consent.resource,
            "since": datetime.fromtimestamp(consent.given_at, UTC).date().isoformat(),
            "permissions": describe(consent.scopes, offline_days=self._browsing.offline_days),
        }


ROUTES = (
    Route(
        "GET",
        "/oauth/consents",
        ConsentHandlers.consents,
        "See what applications may do",
        PAGES,
        {200: str},
        proof=Proof.SESSION,
    ),
    Route(
        "POST",
        "/oauth/consents/withdraw",
        ConsentHandlers.withdraw,
        "Take that back",
        PAGES,
        {303: None},
        form=WithdrawForm,
        proof=Proof.SESSION,
        errors=(403,),
    ),
)
