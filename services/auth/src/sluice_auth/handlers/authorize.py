"""`/oauth/authorize`, signing in and out, and the consent that comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from sluice_auth.authorization import Asked, AuthorizationService, Destination, Proposal, RefusedToClientError
from sluice_auth.errors import ErrorCode, OAuthError, invalid_request
from sluice_auth.handlers.browser import Cookies, FormProof, Pages, see_other
from sluice_auth.handlers.forms import MOST_FIELDS, Form, read_form
from sluice_auth.handlers.page_messages import AuthorizationQuery, ConsentForm, SignInForm, SignOutForm
from sluice_auth.handlers.routing import Handler, Proof, Route, fields_of, served
from sluice_auth.handlers.scope_words import describe
from sluice_auth.people import User
from sluice_auth.redirects import origin, policy_source
from sluice_auth.sessions import SessionService
from sluice_security.callers import Origins

# A request may not come in another parameter, or from elsewhere (OpenID Connect Core, section 6).
_BY_REFERENCE: Mapping[str, ErrorCode] = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
}


@dataclass(frozen=True, slots=True)
class Browsing:
    """What all pages need."""

    pages: Pages
    cookies: Cookies
    proof: FormProof
    base: str
    offline_days: float

    def guarded(self, handler: Handler) -> Handler:
        """Answer a refusal with a page: it is a person who reads it."""

        async def shown(request: web.Request) -> web.Response:
            try:
                return await handler(request)
            except OAuthError as error:
                page = self.pages.show("refused", error.status, reason=error.description, error=error.error)
                if error.retry_after is not None:
                    page.headers["Retry-After"] = str(int(error.retry_after) + 1)
                return page

        return shown

    def sign_in(
        self, request: web.Request, then: str, destination: Destination | None, *, failed: bool = False
    ) -> web.Response:
        """Give the sign-in page; afterwards the browser goes on to `then`, a query for `/oauth/authorize`."""
        mark = self.cookies.form(request) or self.proof.new_mark()
        page = self.pages.show(
            "sign_in",
            403 if failed else 200,
            leads_to="" if destination is None else policy_source(destination.redirect_uri),
            then=then,
            proof=self.proof.make(mark, "sign-in", then),
            client="" if destination is None else shown_name(destination.client.name),
            failed=failed,
        )
        self.cookies.mark(page, mark)
        return page

    def onward(self, then: str) -> web.Response:
        """Send the browser on to this server's own page, never elsewhere."""
        return see_other(f"{self.base}/oauth/{f'authorize?{then}' if then else 'consents'}")


def shown_name(name: str) -> str:
    """Give what to call a client."""
    return name or "An application without a name"


class AuthorizeHandlers:
    """Leads a user through signing in and consenting, back to the client."""

    def __init__(
        self,
        authorizations: AuthorizationService,
        sessions: SessionService,
        browsing: Browsing,
        origins: Origins,
    ) -> None:
        self._authorizations = authorizations
        self._sessions = sessions
        self._browsing = browsing
        self._origin = origins.network

    def routes(self) -> list[web.RouteDef]:
        """Give the endpoints."""
        return served(self, ROUTES, self._browsing.guarded)

    async def authorize(self, request: web.Request) -> web.Response:
        """Ask a user to let a client speak for them (RFC 6749 section 4.1.1, RFC 7636, RFC 9207).

        The client sends the user's browser here. After signing in and consenting, unless both were done
        before, it is sent back to `redirect_uri` with `code`, `state` and `iss`, or with `error`.
        """
        # Nobody is sent anywhere before they have signed in, not even with a refusal: otherwise a link to
        # this server would lead to any address that anyone registered (RFC 9700 section 4.11.2).
        asked, then = _read(request.query_string)
        destination = await self._authorizations.destination(asked)
        session = self._browsing.cookies.session(request)
        user = await self._sessions.user(session)
        if user is None or session is None:
            return self._browsing.sign_in(request, then, destination)
        try:
            proposal = self._authorizations.proposal(asked, destination, user)
        except RefusedToClientError as refused:
            return see_other(self._authorizations.refusal(refused))
        if await self._authorizations.remembered(proposal, user):
            return see_other(await self._authorizations.allow(proposal, user, asked=False))
        return self._consent_page(proposal, user, session, then)

    async def consent(self, request: web.Request) -> web.Response:
        """Take the user's decision; what it is about is read and checked again."""
        form = await read_form(request)
        then = _canonical(form.get("then") or "")
        session = self._browsing.cookies.session(request)
        user = await self._sessions.user(session)
        if user is None:
            return self._browsing.onward(then)
        self._browsing.proof.check(request, form.get("proof"), session, "consent", then)
        asked, _ = _read(then)
        destination = await self._authorizations.destination(asked)
        try:
            proposal = self._authorizations.proposal(asked, destination, user)
        except RefusedToClientError as refused:
            return see_other(self._authorizations.refusal(refused))
        if form.get("decision") == "allow":
            return see_other(await self._authorizations.allow(proposal, user, asked=True))
        return see_other(await self._authorizations.deny(proposal, user))

    async def sign_in(self, request: web.Request) -> web.Response:
        """Begin a session, always a new one."""
        form = await read_form(request)
        then = _canonical(form.get("then") or "")
        cookies = self._browsing.cookies
        self._browsing.proof.check(request, form.get("proof"), cookies.form(request), "sign-in", then)
        destination = await self._authorizations.destination(_read(then)[0]) if then else None
        session = await self._sessions.sign_in(
            form.get("name") or "", form.get("password") or "", self._origin(request)
        )
        if session is None:
            return self._browsing.sign_in(request, then, destination, failed=True)
        former = cookies.session(request)
        if former is not None:
            await self._sessions.sign_out(former)
        response = self._browsing.onward(then)
        cookies.begin(response, session, self._sessions.lifetime)
        return response

    async def sign_out(self, request: web.Request) -> web.Response:
        """End the session."""
        form = await read_form(request)
        session = self._browsing.cookies.session(request)
        self._browsing.proof.check(request, form.get("proof"), session, "sign-out")
        await self._sessions.sign_out(session or "")
        response = self._browsing.onward(_canonical(form.get("then") or ""))
        self._browsing.cookies.end(response)
        return response

    def _consent_page(self, proposal: Proposal, user: User, session: str, then: str) -> web.Response:
        browsing = self._browsing
        redirect_uri = proposal.destination.redirect_uri
        return browsing.pages.show(
            "consent",
            leads_to=policy_source(redirect_uri),
            client=shown_name(proposal.client.name),
            permissions=describe(proposal.scopes, offline_days=browsing.offline_days),
            resource=proposal.resource,
            returns_to=origin(redirect_uri),
            user=user.name,
            then=then,
            proof=browsing.proof.make(session, "consent", then),
            sign_out_proof=browsing.proof.make(session, "sign-out"),
        )


TAG = "Consent"
PAGES = "Pages for people"
ROUTES = (
    Route(
        "GET",
        "/oauth/authorize",
        AuthorizeHandlers.authorize,
        "Ask a user for consent",
        TAG,
        {200: str, 303: None},
        query=AuthorizationQuery,
        proof=Proof.SESSION,
    ),
    Route(
        "POST",
        "/oauth/sign-in",
        AuthorizeHandlers.sign_in,
        "Sign in",
        PAGES,
        {303: None},
        form=SignInForm,
        proof=Proof.SESSION,
        errors=(403, 429),
    ),
    Route(
        "POST",
        "/oauth/sign-out",
        AuthorizeHandlers.sign_out,
        "Sign out",
        PAGES,
        {303: None},
        form=SignOutForm,
        proof=Proof.SESSION,
        errors=(403,),
    ),
    Route(
        "POST",
        "/oauth/consent",
        AuthorizeHandlers.consent,
        "Consent, or do not",
        PAGES,
        {303: None},
        form=ConsentForm,
        proof=Proof.SESSION,
        errors=(403,),
    ),
)


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError:
        raise invalid_request("The address is not one of this server's.") from None
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise invalid_request("The address is not one of this server's.")
    return pairs


def _canonical(query: str) -> str:
    return urlencode(_pairs(query))


def _read(query: str) -> tuple[Asked, str]:
    """Read a request for authorization, each parameter once (RFC 6749 section 3.1), and its one spelling."""
    pairs = _pairs(query)
    form = Form(pairs, fields_of(AuthorizationQuery) | _BY_REFERENCE.keys())
    by_reference = next((code for name, code in _BY_REFERENCE.items() if form.get(name) is not None), None)
    asked = Asked(
        client_id=form.get("client_id"),
        redirect_uri=form.get("redirect_uri"),
        response_type=form.get("response_type"),
        scope=form.get("scope"),
        state=form.get("state"),
        challenge=form.get("code_challenge"),
        challenge_method=form.get("code_challenge_method"),
        resources=form.resources,
        by_reference=by_reference,
    )
    return asked, urlencode(pairs)
