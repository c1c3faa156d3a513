"""The page for people, in a real Chromium on the whole stack."""

import asyncio
from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import pytest
from playwright.async_api import Browser, Route, expect

from sluice_auth.first_things import DASHBOARD
from sluice_stack.stack import Stack
from support.page import DESK, NEEDS_CHROMIUM, PHONE, at_the_page, bury, chromium, submit
from support.portal import register_source

pytestmark = NEEDS_CHROMIUM
KEPT = "JSON.parse(sessionStorage.getItem('sluice-session'))"
KEEP = f"sessionStorage.setItem('sluice-session', JSON.stringify({{...{KEPT}, CHANGE}}))"
# By how much a view may move while it fills, as browsers measure it: 0.1 is what counts as good.
STEADY = 0.05
GROUNDS: dict[Literal["light", "dark"], str] = {"dark": "rgb(13, 17, 23)", "light": "rgb(244, 246, 248)"}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest.fixture
async def source(stack: Stack) -> str:
    async with aiohttp.ClientSession() as http:
        await register_source(stack, http, "r4")
    return f"{stack.layout.source_url}/r4/fhir/DocumentReference"


async def test_someone_follows_a_job_to_its_end_and_runs_what_failed_again(
    browser: Browser, stack: Stack, source: str
) -> None:
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        good = [f"{source}/bench-{number:06}" for number in range(1, 8)]
        bad = [f"{source}/fault-not-found.page", f"{source}/fault-wrong-hash.page"]
        job = await submit(person, good + bad, "Followed to the end")

        await expect(page.locator(".progress .badge")).to_have_text("2 failed")
        await expect(page.locator(".progress [role=progressbar]")).to_have_attribute("aria-valuenow", "9")
        await expect(page.locator("#told")).to_contain_text("The job has ended")
        await page.click("button:has-text('Failed 2')")
        await expect(page.locator(".items li")).to_have_count(2)
        reasons = await page.locator(".items .why").all_text_contents()
        assert "The source has no such DocumentReference." in reasons
        told = ["Submitted", "Planned as 9 documents", "Read from the source", "Metadata made"]
        told += ["In their folders", "Ended: 2 failed"]
        await expect(page.locator(".timeline strong")).to_have_text(told)

        await page.click("button:has-text('Run the failed ones again')")
        await page.wait_for_url(lambda url: "#/jobs/" in url and job not in url)
        await expect(page.locator(".progress .badge")).to_have_text("Failed")

        await person.open("/files")
        await page.click("a:has-text('Followed to the end')")
        await person.settled()
        await page.locator(".entries a").first.click()
        await expect(page.locator(".tag").first).to_have_text("first")
        async with page.expect_download() as started:
            await page.click("button:has-text('Download')")
        assert await (await started.value).failure() is None

        await person.open("/jobs")
        await expect(page.locator(".job")).to_have_count(2)
        assert person.complaints == []
        assert await person.stopped() == []
        # Everything comes from the gateway and, to sign in, from the authorization server.
        ours = {urlsplit(stack.layout.gateway_url).netloc, urlsplit(stack.layout.auth_url).netloc}
        assert {urlsplit(url).netloc for url in person.asked if url.startswith("http")} <= ours


async def test_what_was_chosen_before_the_projects_are_known_stays_chosen(
    browser: Browser, stack: Stack, source: str
) -> None:
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        await submit(person, [f"{source}/bench-000061"], "There before")
        known = asyncio.Event()

        async def late(route: Route) -> None:
            await known.wait()
            await route.continue_()

        await page.route("**/v2/projects?*", late)
        await person.open("/import")
        await page.fill("#name", "Mine")
        known.set()
        await expect(page.locator("#project option")).not_to_have_count(1)
        await expect(page.locator("#name")).to_be_visible()
        assert await page.input_value("#project") == ""
        assert not person.complaints


async def test_tokens_are_renewed_in_time_are_gone_after_signing_out_and_are_in_no_address(
    browser: Browser, stack: Stack
) -> None:
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        first = await page.evaluate(KEPT)
        assert not any(first["access"] in url or first["refresh"] in url for url in person.asked)
        assert "code=" not in page.url

        # As if five minutes had passed; several calls at once renew once.
        await page.evaluate(KEEP.replace("CHANGE", "expires: 0"))
        await page.reload()
        await person.settled()
        second = await page.evaluate(KEPT)
        assert second["refresh"] != first["refresh"]
        # A token that is void is renewed when it is refused.
        await page.evaluate(KEEP.replace("CHANGE", "access: 'void'"))
        await page.reload()
        await person.settled()
        third = await page.evaluate(KEPT)
        assert third["refresh"] != second["refresh"]

        await page.click("summary:has-text('Account')")
        await page.click("button:has-text('Sign out')")
        await expect(page.locator("h1")).to_have_text("Health data, on its way")
        assert await page.evaluate("sessionStorage.getItem('sluice-session')") is None
        form = {
            "grant_type": "refresh_token",
            "client_id": DASHBOARD,
            "refresh_token": third["refresh"],
        }
        answer = await person.context.request.post(f"{stack.layout.auth_url}/oauth/token", form=form)
        assert (await answer.json())["error"] == "invalid_grant"


async def test_two_copies_of_a_tab_renew_their_token_once_each_in_turn_and_stay_signed_in(
    browser: Browser, stack: Stack
) -> None:
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        async with person.context.expect_page() as opened:
            # A window that a page opens gets a copy of its session storage, as a duplicated tab does.
            await page.evaluate("window.open('/#/jobs')")
        copy = await opened.value
        await expect(copy.locator("#nav")).to_contain_text("Jobs")
        before = await copy.evaluate(KEPT)
        renew = (
            "Promise.all([1, 2, 3].map(async () => (await import(document.querySelector('script').src"
            ".replace('main.js', 'session.js'))).token({ fresh: true })))"
        )
        for _ in range(3):
            both = await asyncio.gather(page.evaluate(renew), copy.evaluate(renew))
            # Whoever was second took what the first had got, or renewed that in its turn.
            assert all(token for tokens in both for token in tokens)
        assert (await copy.evaluate(KEPT))["family"] == before["family"]
        for tab in (page, copy):
            await tab.reload()
            await expect(tab.locator("#nav")).to_contain_text("Jobs")
            await expect(tab.locator("h1")).to_have_text("Jobs")


async def test_whoever_does_not_consent_is_told_and_an_answer_nobody_asked_for_is_refused(
    browser: Browser, stack: Stack
) -> None:
    async with at_the_page(browser, stack) as person:
        page = person.page
        await page.goto(f"{person.url}/dashboard/signed-in?code=forged&state=s&iss={stack.layout.auth_url}")
        await expect(page.locator(".notice")).to_contain_text("was not begun in this tab")
        await page.click("button:has-text('Sign in')")
        await page.fill("#name", "demo")
        await page.fill("#password", stack.layout.home.secrets().demo_password)
        await page.keyboard.press("Enter")
        await page.click("button[value=deny]")
        await expect(page.locator(".notice")).to_contain_text("You did not allow it")


async def test_everything_is_reached_by_keyboard_and_nothing_traps_it(browser: Browser, stack: Stack) -> None:
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        await person.open("/import")
        await page.reload()
        await person.settled()
        walked = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            here = await page.evaluate(
                "(() => { const it = document.activeElement; const box = it.getBoundingClientRect();"
                "return it === document.body ? null : [it.id || it.textContent.trim(), it.tagName,"
                " getComputedStyle(it).outlineStyle !== 'none' || it.matches('.skip'), box.width > 0]; })()"
            )
            if here is None:
                break
            walked.append(here)
        names = [name for name, _, _, _ in walked]
        assert names[0] == "Skip to the content"
        order = ["Jobs", "Files", "references", "project", "tags", "conflict", "Start the import"]
        found = [next(n for n in names if n == one or n.startswith(one)) for one in order]
        assert [names.index(name) for name in found] == sorted(names.index(name) for name in found)
        assert all(outlined and seen for _, _, outlined, seen in walked)
        assert len(walked) < 40, "the walk does not end"

        await page.keyboard.press("Home")
        await page.evaluate("document.querySelector('.skip').focus()")
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        # A view that is opened has the focus at its heading.
        await page.focus("#nav a:has-text('Files')")
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("Files")
        assert await page.evaluate("document.activeElement.tagName") == "H1"
        await page.focus("summary:has-text('Account')")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Escape")
        assert await page.evaluate("document.activeElement.textContent") == "Account"


async def test_every_view_is_accessible_light_and_dark_fits_a_phone_and_stands_still(
    browser: Browser, stack: Stack, source: str
) -> None:
    await bury(stack, "views")
    async with at_the_page(browser, stack, reduced_motion="reduce") as person:
        page = person.page
        await person.sign_in("operator")
        job = await submit(person, [f"{source}/bench-000001", f"{source}/fault-not-found.views"], "Looked at")
        await expect(page.locator(".progress .badge")).to_have_text("1 failed")
        file = await page.locator(".items a").first.get_attribute("href") or ""
        shown = f"/jobs/{job}", file.removeprefix("#")
        for view in ("/jobs", "/import", "/files", "/sources", "/dead-letters", *shown):
            await person.open(view)
            await page.set_viewport_size(PHONE)
            await page.reload()
            await person.settled()
            assert await person.moved() < STEADY, view
            await page.evaluate("document.querySelectorAll('.terminal').forEach((it) => { it.open = true; })")
            for scheme, ground in GROUNDS.items():
                await page.emulate_media(color_scheme=scheme)
                found = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (found, await person.violations()) == (ground, []), (view, scheme)
            assert await person.overflow() <= 0, view
            assert await person.cut_off() == [], view
            await page.set_viewport_size(DESK)
            assert await person.violations() == [], view
            assert await person.overflow() <= 0, view
        assert person.complaints == []
        assert await person.stopped() == []


async def test_an_operator_sees_why_letters_are_dead_and_has_them_tried_again(
    browser: Browser, stack: Stack
) -> None:
    await bury(stack, "operator")
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("operator")
        await page.click("#nav a:has-text('Dead letters')")
        await person.settled()
        card = page.locator(".card", has_text="document.scrape")
        await expect(card).to_contain_text("malformed")
        await expect(card).to_contain_text("document.scrape 4/17")
        assert "Jane" not in await page.content()
        await page.set_viewport_size(PHONE)
        for piece in await card.locator(".letters li:first-child > *").all():
            rows = await piece.evaluate(
                "(it) => { const all = document.createRange(); all.selectNodeContents(it);"
                " return new Set([...all.getClientRects()].map((box) => box.top)).size; }"
            )
            assert rows == 1, await piece.text_content()
        await card.locator("form button").click()
        # It is malformed still: it comes back as a new one, and nothing else is lost or doubled.
        await expect(page.locator("#told")).to_contain_text("went back to document.scrape")
        assert person.complaints == []


async def test_who_is_no_operator_is_shown_nothing_of_operators(browser: Browser, stack: Stack) -> None:
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        await expect(page.locator("#nav a")).to_have_text(["Jobs", "Files"])
        await person.open("/dead-letters")
        await expect(page.locator("[role=alert]")).to_be_visible()
