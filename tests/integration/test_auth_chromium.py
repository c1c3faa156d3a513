"""The pages in a real browser, with and without scripts: what its policies let through and what they stop."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web
from playwright.async_api import Browser, Page

from sluice_auth.user_accounts import Accounts
from sluice_auth.wiring import assemble
from sluice_stack.processes import free_port
from support.auth_browser import BOTH, PASSWORD, SCOPES, asking
from support.auth_server import Clock, Web, cheap_passwords, settings
from support.auth_store import MemoryStore
from support.page import NEEDS_CHROMIUM, chromium

pytestmark = NEEDS_CHROMIUM


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def returned(request: web.Request) -> web.Response:
    frame = request.query.get("frame")
    body = f'<iframe src="{frame}"></iframe>' if frame else "returned"
    return web.Response(text=f"<!doctype html><title>portal</title>{body}", content_type="text/html")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def sign_in(page: Page) -> None:
    await page.fill("#name", "ann")
    await page.fill("#password", PASSWORD)
    await page.keyboard.press("Enter")


@pytest.mark.parametrize(("scheme", "scripts"), [("light", True), ("dark", False)])
async def test_a_user_consents_returns_withdraws_and_cannot_be_framed(
    browser: Browser, scheme: str, scripts: bool
) -> None:
    auth_port, store, clock = free_port(), MemoryStore(), Clock()
    service = assemble(
        settings(issuer=f"http://127.0.0.1:{auth_port}", client_scopes=SCOPES),
        store,
        store,
        now=clock,
        monotonic=clock,
        fetch=Web().fetch,
        passwords=cheap_passwords(),
    )
    await service.keyring.refresh()
    await Accounts(store, cheap_passwords()).add("ann", PASSWORD, now=clock())
    portal = web.Application()
    portal.router.add_get("/callback", returned)
    async with serving(service.app, auth_port) as issuer, serving(portal, free_port()) as client_site:
        context = await browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light", java_script_enabled=scripts
        )
        page = await context.new_page()
        callback = f"{client_site}/callback"
        metadata = {"client_name": "Portal", "redirect_uris": [callback], "grant_types": BOTH}
        signed_up = await context.request.post(f"{issuer}/oauth/register", data=metadata)
        ask = issuer + asking(await signed_up.json(), redirect_uri=callback, scope="user/*.rs files/read")

        await page.goto(ask)
        ground = await page.locator("main").evaluate("it => getComputedStyle(it).backgroundColor")
        assert ground == ("rgb(22, 27, 34)" if scheme == "dark" else "rgb(255, 255, 255)")
        await sign_in(page)
        await page.click("button[value=allow]")
        await page.wait_for_url(f"{callback}?**")
        told = parse_qs(urlsplit(page.url).query)
        assert told["iss"] == [issuer]
        assert "code" in told

        # Consent is remembered, so signing in leads from the form straight to the portal.
        await page.goto(f"{issuer}/oauth/consents")
        await page.click("text=Sign out")
        await page.goto(ask)
        await sign_in(page)
        await page.wait_for_url(f"{callback}?**")

        await page.goto(f"{callback}?frame={issuer}/oauth/consents")
        assert [frame.url for frame in page.frames if frame.url.startswith(issuer)] == []
        await page.goto(f"{issuer}/oauth/consents")
        await page.click("text=Withdraw")
        await page.wait_for_selector("text=No application may act for you.")
        assert all(cookie["httpOnly"] for cookie in await context.cookies())
        await context.close()
