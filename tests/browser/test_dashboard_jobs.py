"""What people do with jobs of each kind at the page, and what they see of sources, in a real Chromium."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from playwright.async_api import Browser, Route, expect
from prometheus_client.parser import text_string_to_metric_families

from sluice_stack.stack import Stack
from support.held_source import held_source
from support.page import NEEDS_CHROMIUM, Person, at_the_page, bury, chromium, submit, token, username
from support.page_jobs import begun, faulty_source
from support.portal import register_source
from support.stack_export import load_sample, operator
from support.stack_whole import frozen_services

pytestmark = NEEDS_CHROMIUM


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


async def downloaded(person: Person, button: str) -> bytes:
    """Press a button and give what it downloads."""
    async with person.page.expect_download() as started:
        await person.page.click(button)
    path = await (await started.value).path()
    return await asyncio.to_thread(path.read_bytes)


async def test_what_became_of_a_bulk_import_is_shown_and_it_can_be_forgotten(
    browser: Browser, stack: Stack
) -> None:
    async with faulty_source() as url, aiohttp.ClientSession() as http, at_the_page(browser, stack) as person:
        await register_source(stack, http, "faulty", base_url=url)
        page = person.page
        await person.sign_in("demo")
        static = {"name": "exportType", "valueCode": "static"}
        job = await begun(
            person, "/fhir/$import", {"name": "exportUrl", "valueUrl": f"{url}/manifest"}, static
        )
        await person.open(f"/jobs/{job}")
        await expect(page.locator(".progress .badge")).to_have_text("1 failed")
        results = page.locator(".results")
        await expect(results).to_contain_text("2 lines read: 1 created")
        await expect(results).to_contain_text("What went wrong: 2")
        await expect(results).to_contain_text("line 2: not loaded, it is not JSON")
        await expect(results).to_contain_text("The source answered 404")
        assert "Jane" not in await page.content()
        assert b"OperationOutcome" in await downloaded(person, "button:has-text('Download all of it')")
        assert b"page-1" in await downloaded(person, "button:has-text('Download what it brought')")
        told = ["Submitted", "Exported at the source: 2 files", "Loaded", "What it refers to looked up"]
        for number, text in enumerate(told):
            await expect(page.locator(".timeline li strong").nth(number)).to_have_text(text)
        page.on("dialog", lambda dialog: dialog.accept())
        await page.click("button:has-text('Forget the import')")
        await page.wait_for_url(re.compile("#/jobs$"))
        await person.open(f"/jobs/{job}")
        await expect(page.locator("[role=alert]")).to_contain_text("There is no such")


async def test_what_is_worth_knowing_of_a_job_and_its_items_is_told(browser: Browser, stack: Stack) -> None:
    async with aiohttp.ClientSession() as http:
        await register_source(stack, http, "r4")

    async def stuck(route: Route) -> None:
        found = await (await route.fetch()).json()
        changes = {"state": "RUNNING", "outcome": None, "stuck_since": "2026-01-31T12:00:00Z"}
        await route.fulfill(json={**found, **changes})

    async def sparse(route: Route) -> None:
        found = await (await route.fetch()).json()
        found["result"][0] |= {"warnings": ["visit_date"], "other_contents": 2}
        await route.fulfill(json=found)

    source = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        job = await submit(person, [f"{source}/bench-000081"], "Worth knowing")
        await expect(page.locator(".progress .badge")).to_have_text("Done")
        assert await page.locator(".items .note, .progress .notice").all_text_contents() == []
        await page.route(f"**/v2/bulk/fhir/{job}?*", sparse)
        await page.route(f"**/v2/jobs/{job}", stuck)
        # Its events would say that it has ended.
        await page.route(f"**/v2/jobs/{job}/events", lambda route: route.fulfill(status=204))
        await page.reload()
        notes = page.locator(".items .note")
        await expect(notes).to_have_text(
            [
                "Its metadata lack what the source did not have: visit_date.",
                "The document has 2 further contents, not imported.",
            ]
        )
        await expect(page.locator(".progress .notice")).to_contain_text("nothing was heard of it since")
        assert await person.violations() == []


async def test_a_slow_import_says_how_much_longer_it_will_take(browser: Browser, stack: Stack) -> None:
    async with held_source() as source, at_the_page(browser, stack) as person:
        async with aiohttp.ClientSession() as http:
            await register_source(stack, http, "slow", base_url=source.url)
        page = person.page
        await person.sign_in("demo")
        manifest = {"name": "exportUrl", "valueUrl": f"{source.url}/manifest"}
        job = await begun(person, "/fhir/$import", manifest, {"name": "exportType", "valueCode": "static"})
        await person.open(f"/jobs/{job}")
        await expect(page.locator(".progress .state")).to_contain_text(re.compile("about .* left"))
        await expect(page.locator(".timeline")).to_contain_text("as it looks")
        source.go.set()
        await expect(page.locator(".progress .badge")).to_have_text("Done")
        await expect(page.locator(".progress .state")).not_to_contain_text("left")


async def test_an_exports_files_are_downloaded_and_deleted_at_the_page(
    browser: Browser, stack: Stack
) -> None:
    sample = await load_sample(stack)
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("demo")
        async with operator(stack) as operators:
            await operators.give_grant(user=await username(person), all_patients=True)
        job = await begun(person, "/fhir/Patient/$export", {"name": "_type", "valueString": "Patient"})
        await person.open(f"/jobs/{job}")
        await expect(page.locator(".results li")).to_have_count(1)
        await expect(page.locator(".results li")).to_contain_text(f"{sample.counts['Patient']} resources")
        found = await downloaded(person, ".results button")
        assert found.count(b"\n") == sample.counts["Patient"]
        page.on("dialog", lambda dialog: dialog.accept())
        await page.click("button:has-text('Delete the export')")
        await page.wait_for_url(re.compile("#/jobs$"))
        assert person.complaints == []


async def test_jobs_are_cancelled_at_the_page_and_the_list_shows_it_as_it_happens(
    browser: Browser, stack: Stack
) -> None:
    async with aiohttp.ClientSession() as http:
        await register_source(stack, http, "r4")
        await register_source(stack, http, "synthea")
    source = stack.layout.source_url
    async with at_the_page(browser, stack) as person, at_the_page(browser, stack) as other:
        page = person.page
        page.on("dialog", lambda dialog: dialog.accept())
        await person.sign_in("demo")
        await other.sign_in("demo")
        with frozen_services(stack, "fetcher", "puller"):
            job = await submit(person, [f"{source}/r4/fhir/DocumentReference/bench-000077"], "Never mind")
            await page.click("button:has-text('Cancel the job')")
            await expect(page.locator("#told")).to_contain_text("is being cancelled")
            url = f"{source}/synthea/fhir/$export"
            pull = await begun(person, "/fhir/$import", {"name": "exportUrl", "valueUrl": url})
            await person.open(f"/jobs/{pull}")
            await page.click("button:has-text('Cancel the job')")
            await page.wait_for_url(re.compile("#/jobs$"))
        # The other one's list was open all the while.
        row = other.page.locator(f".job:has(a[href='#/jobs/{job}'])")
        await expect(row.locator(".badge")).to_have_text("Cancelled")
        await expect(other.page.locator(f"a[href='#/jobs/{pull}']")).to_have_count(0)
        await person.open(f"/jobs/{job}")
        await expect(page.locator(".timeline li").last).to_contain_text("cancelled")


async def test_an_operator_sees_how_sources_do(browser: Browser, stack: Stack) -> None:
    async with aiohttp.ClientSession() as http:
        secret = {"type": "bearer", "token": "t" * 20}
        await register_source(stack, http, "protected", auth=secret)
        await register_source(stack, http, "r4")
    source = f"{stack.layout.source_url}/r4/fhir"
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("operator")
        await submit(person, [f"{source}/DocumentReference/bench-000078"], "Calls a source")
        await expect(page.locator(".progress .badge")).to_have_text("Done")
        await person.open("/sources")
        called = page.locator(".card", has_text=source)
        await expect(called.locator(".badge")).to_have_text(re.compile("Well|Slowed down"))
        await expect(called.locator(".minutes")).to_have_attribute(
            "aria-label", re.compile(r"[1-9]\d* good answers")
        )
        await expect(called).to_contain_text("open")
        protected = page.locator(".card", has_text=f"{stack.layout.source_url}/protected/fhir")
        await expect(protected).to_contain_text("a token")
        assert "t" * 20 not in await page.content()

        async def failing(route: Route) -> None:
            found = await (await route.fetch()).json()
            alert = {"noticed_on": "2026-01-31T12:00:00Z", "seconds": 300, "failed": 21, "ended_well": 1}
            await route.fulfill(json={**found, "alert": alert})

        await page.route("**/health", failing)
        await page.reload()
        words = "within 5 minutes 21 attempts failed for its reasons, and 1 item ended well"
        await expect(page.locator(".card", has_text=source).locator(".notice")).to_contain_text(words)
        assert await person.violations() == []


async def test_a_source_that_refuses_calls_is_seen_to_be_slowed_and_so_it_is_in_metrics(
    browser: Browser, stack: Stack
) -> None:
    async with held_source() as source, at_the_page(browser, stack) as person:
        page = person.page
        async with aiohttp.ClientSession() as http:
            await register_source(stack, http, "refusing", base_url=source.url)
            await person.sign_in("operator")
            documents = f"{source.url}/DocumentReference"
            await submit(person, [f"{documents}/quick-1"], "Not yet refused")
            await expect(page.locator(".progress .badge")).to_have_text("Done")
            await person.open("/sources")
            card = page.locator(".card", has_text=source.url)
            await expect(card.locator(".badge")).to_have_text("Well")
            await expect(card).to_contain_text("no limit")
            job = await submit(person, [f"{documents}/refused-{number}" for number in range(9)], "Refused")
            await expect(page.locator(".progress .notice")).to_contain_text(
                re.compile("asked less often|left alone until")
            )
            assert await person.violations() == []
            await person.open("/sources")
            await expect(card.locator(".badge")).to_have_text(re.compile("Slowed down|Left alone"))
            await expect(card).to_contain_text(re.compile(r"[\d.]+ of 32"))
            await expect(card).not_to_contain_text("no limit")
            refused = re.compile(r"[1-9]\d* refused")
            await expect(card.locator(".minutes")).to_have_attribute("aria-label", refused)
            assert await person.violations() == []
            headers = {"Authorization": f"Bearer {await token(person)}"}
            async with http.get(f"{person.url}/v2/fhir/sources", headers=headers) as answer:
                listed = (await answer.json())["items"]
            (known,) = (one["id"] for one in listed if one["base_url"] == source.url)
            url = stack.services["fetcher"].plan.ready.replace("/readyz", "/metrics")
            async with http.get(url) as answer:
                shown = {one.name: one for one in text_string_to_metric_families(await answer.text())}
            (rate,) = (it.value for it in shown["sluice_source_rate"].samples if it.labels["source"] == known)
            assert math.isfinite(rate)
            counted = shown["sluice_source_answers"].samples
            assert {"source": known, "outcome": "source_throttled"} in [it.labels for it in counted]
        source.go.set()
        await person.open(f"/jobs/{job}")
        await expect(page.locator(".progress .badge")).to_have_text(re.compile("Done|failed"))
        await expect(page.locator(".progress .notice")).to_have_count(0)


async def test_a_job_and_the_redrive_form_are_used_by_keyboard_alone(browser: Browser, stack: Stack) -> None:
    async with aiohttp.ClientSession() as http:
        await register_source(stack, http, "r4")
    await bury(stack, "keyboard")
    source = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    async with at_the_page(browser, stack) as person:
        page = person.page
        await person.sign_in("operator")
        job = await submit(person, [f"{source}/bench-000079", f"{source}/fault-gone.keys"], "By keyboard")
        await expect(page.locator(".progress .badge")).to_have_text("1 failed")

        async def reach(text: str) -> None:
            for _ in range(60):
                await page.keyboard.press("Tab")
                found = "(document.activeElement.ariaLabel ?? document.activeElement.textContent).startsWith"
                if await page.evaluate(f"{found}({json.dumps(text)})"):
                    return
            raise AssertionError(f"{text} is not reached")

        await reach("Failed 1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".items li")).to_have_count(1)
        assert await page.evaluate("document.activeElement.textContent") == "Failed 1"
        await reach("Do this from a terminal")
        await page.keyboard.press("Enter")
        await reach("Copy: Show the job, curl")
        await page.keyboard.press("Home")
        await page.reload()
        await person.settled()
        await reach("Run the failed ones again")
        await page.keyboard.press("Enter")
        await page.wait_for_url(lambda url: "#/jobs/" in url and job not in url)

        await person.open("/dead-letters")
        await reach("How many of document.scrape")
        await page.keyboard.type("1")
        await page.keyboard.press("Enter")
        await expect(page.locator("#told")).to_contain_text("went back to document.scrape")
