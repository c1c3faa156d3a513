"""A user's browser before the authorization server: keeps cookies, fills in forms, follows no redirect."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import ClientResponse, ClientSession, FormData

from sluice_auth.code_grants import challenge_of
from sluice_auth.people import User
from sluice_auth.user_accounts import Accounts
from support.auth_server import ISSUER, AuthServer, cheap_passwords

REDIRECT = "https://portal.test/callback"
PASSWORD = "correct horse battery"
VERIFIER = "v" * 43
SCOPES = "bulk/import files/read files/write user/*.rs system/*.rs offline_access"
BOTH = ["authorization_code", "refresh_token"]

_FORM = re.compile(r'<form method="post" action="([^"]*)"[^>]*>(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')


@dataclass
class Page:
    """What came back: a page with its forms, or a place to go to."""

    status: int
    headers: dict[str, str]
    text: str
    forms: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def location(self) -> str:
        assert self.status == 303, self.text
        return self.headers["Location"]

    @property
    def told(self) -> dict[str, str]:
        """What the client is told, when this sends the browser back to it."""
        return dict(parse_qsl(urlsplit(self.location).query))


@dataclass(frozen=True, slots=True)
class Site:
    """An authorization server that runs in a process of its own; the session's base URL is its address."""

    http: ClientSession


class Browser:
    def __init__(self, server: AuthServer | Site, origin: str = ISSUER) -> None:
        self.server = server
        self.origin = origin
        self.cookies: dict[str, str] = {}
        self.set_cookies: dict[str, str] = {}

    async def get(self, path: str) -> Page:
        return await self._ask("GET", path)

    async def post(self, path: str, form: dict[str, str], headers: dict[str, str] | None = None) -> Page:
        return await self._ask(
            "POST", path, data=FormData(form), headers={"Origin": self.origin, **(headers or {})}
        )

    async def submit(self, page: Page, action: str, **more: str) -> Page:
        return await self.post(action, {**page.forms[action], **more})

    async def sign_in(self, page: Page, name: str = "ann", password: str = PASSWORD) -> Page:
        """Fill in the sign-in page, and go where that leads."""
        answer = await self.submit(page, "/oauth/sign-in", name=name, password=password)
        return await self.get(answer.location)

    async def signed_in(self, name: str = "ann") -> Page:
        return await self.sign_in(await self.get("/oauth/consents"), name)

    async def allow(self, client: dict[str, Any], **parameters: str | None) -> Page:
        """Ask for consent as a client does, and give it."""
        page = await self.get(asking(client, **parameters))
        if "/oauth/sign-in" in page.forms:
            page = await self.sign_in(page)
        return await self.submit(page, "/oauth/consent", decision="allow") if page.status == 200 else page

    async def code(self, client: dict[str, Any], **parameters: str | None) -> str:
        return (await self.allow(client, **parameters)).told["code"]

    async def _ask(self, method: str, path: str, **kwargs: Any) -> Page:
        headers = kwargs.pop("headers", {})
        if self.cookies:
            headers = {**headers, "Cookie": "; ".join(f"{n}={v}" for n, v in self.cookies.items())}
        http = self.server.http
        async with http.request(method, path, allow_redirects=False, headers=headers, **kwargs) as answer:
            self._keep(answer)
            text = await answer.text()
        forms = {
            unescape(action): {unescape(n): unescape(v) for n, v in _HIDDEN.findall(body)}
            for action, body in _FORM.findall(text)
        }
        return Page(answer.status, dict(answer.headers), text, forms)

    def _keep(self, answer: ClientResponse) -> None:
        # The server is asked by http here, and its cookies are for https: kept by hand.
        for line in answer.headers.getall("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                self.set_cookies[name] = line
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]


def asking(client: dict[str, Any], **parameters: str | None) -> str:
    """Give the address that a client sends its user to; None leaves a parameter out."""
    query = {
        "response_type": "code",
        "client_id": client["client_id"],
        "redirect_uri": REDIRECT,
        "scope": "user/*.rs files/read",
        "state": "s-1",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
        **parameters,
    }
    return "/oauth/authorize?" + urlencode([(n, v) for n, v in query.items() if v is not None])


async def add_user(server: AuthServer, name: str = "ann") -> User:
    return await Accounts(server.store, cheap_passwords()).add(name, PASSWORD, now=server.clock())


async def portal(server: AuthServer, **metadata: Any) -> dict[str, Any]:
    """Sign up a client that acts for users."""
    return await server.sign_up(
        **{"client_name": "Portal", "redirect_uris": [REDIRECT], "grant_types": BOTH, **metadata}
    )


async def public_portal(server: AuthServer, **metadata: Any) -> dict[str, Any]:
    """Sign up a client that has no secret."""
    return await portal(server, token_endpoint_auth_method="none", **metadata)


async def redeem(
    server: AuthServer, client: dict[str, Any], code: str, status: int = 200, **form: str
) -> dict[str, Any]:
    return await _exchange(
        server,
        client,
        status,
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
            **form,
        },
    )


async def refresh(
    server: AuthServer, client: dict[str, Any], token: str, status: int = 200, **form: str
) -> dict[str, Any]:
    return await _exchange(
        server, client, status, {"grant_type": "refresh_token", "refresh_token": token, **form}
    )


async def _exchange(
    server: AuthServer, client: dict[str, Any], status: int, form: dict[str, str]
) -> dict[str, Any]:
    known = credentials_of(client)
    # A parameter without a value counts as left out.
    return await server.ask({**known, **{n: v for n, v in form.items() if v}}, status)


def credentials_of(client: dict[str, Any]) -> dict[str, str]:
    """Give what a client authenticates with in a form; its name alone if it has no secret."""
    return {name: client[name] for name in list(client) if name in ("client_id", "client_secret")}
