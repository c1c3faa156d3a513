"""The pictures in the README, made of the page as it is: `make screenshots`."""

import os
import re
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from sluice_stack.stack import Stack
from support.page import NEEDS_CHROMIUM, PHONE, Person, at_the_page, chromium, submit
from support.portal import register_source

FOLDER = Path(__file__).parents[2] / "docs" / "images"
pytestmark = [
    NEEDS_CHROMIUM,
    pytest.mark.skipif(not os.environ.get("SLUICE_SCREENSHOTS"), reason="pictures were not asked for"),
]
WINDOW = {"width": 1080, "height": 640}
STUDIES: tuple[tuple[str, int, tuple[str, ...]], ...] = (
    ("Asthma cohort", 24, ()),
    ("Heart study", 17, ("not-found", "gone")),
)
# What the source throttles takes some seconds, so that there is something under way to be seen.
SLOW = ("throttled-twice", "unavailable-twice", "file-throttled-twice", "file-unavailable-twice")


async def taken(person: Person, name: str) -> None:
    await person.page.screenshot(path=FOLDER / f"{name}.png")
    assert person.complaints == []


async def test_the_pictures_are_taken(stack: Stack) -> None:
    FOLDER.mkdir(exist_ok=True)
    async with aiohttp.ClientSession() as http:
        await register_source(stack, http, "r4")
    source = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    async with chromium() as browser:
        async with at_the_page(browser, stack, viewport=WINDOW) as person:
            page = person.page
            await person.sign_in("operator")
            for project, count, faults in STUDIES:
                bad = [f"{source}/fault-{fault}.picture" for fault in faults]
                first = 1000 * count
                good = [f"{source}/bench-{first + number:06}" for number in range(count)]
                failed = await submit(person, [*bad, *good], project)
                await expect(page.locator(".timeline li").last).to_contain_text("Ended")
            await person.settled()
            await expect(page.locator(".items li").first).to_be_visible()
            await taken(person, "job")
            slow = [f"{source}/fault-{fault}.{number}" for fault in SLOW for number in range(6)]
            await submit(person, [f"{source}/bench-{number:06}" for number in range(40)] + slow, "Imaging")
            await person.open("/jobs")
            await expect(page.locator(".badge.running")).to_have_count(1)
            some = re.compile("[1-9][0-9] of 64")
            await expect(page.locator(".job .how").first).to_contain_text(some)
            await taken(person, "jobs")
        async with at_the_page(browser, stack, viewport=PHONE, color_scheme="dark") as person:
            await person.sign_in("operator")
            await person.open(f"/jobs/{failed}")
            await person.page.click(".tabs button:has-text('Failed')")
            await expect(person.page.locator(".items li")).to_have_count(2)
            await taken(person, "job-phone-dark")
