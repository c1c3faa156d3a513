"""The gateway's page in a real Chromium, on the whole stack: signing in, and what must hold of every view."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright, expect

from sluice_stack.stack import Stack
from sluice_streaming.kafka import KafkaBackend
from sluice_streaming.messages import Outgoing

CHROMIUM = shutil.which("chromium")
NEEDS_CHROMIUM = pytest.mark.needs("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Machines are shared: what comes at all may take its time.
expect.set_options(timeout=120_000)
PHONE = ViewportSize(width=360, height=740)
DESK = ViewportSize(width=1200, height=800)
# What the page's policy stopped, and what went wrong in its scripts, is kept where a test finds it.
_LISTEN = """
window.stopped = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.stopped.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run the browser."""
    async with async_playwright() as player:
        browser = await player.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class Person:
    """Someone at the page, and what their browser had to complain about."""

    stack: Stack
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)

    @property
    def url(self) -> str:
        return self.stack.layout.gateway_url

    async def open(self, view: str = "/jobs") -> None:
        await self.page.goto(f"{self.url}/#{view}")
        await self.settled()

    async def settled(self) -> None:
        """Wait until the view has what it shows."""
        await expect(self.page.locator("h1")).to_be_visible()
        await expect(self.page.locator(".skeleton")).to_have_count(0)

    async def sign_in(self, name: str) -> None:
        secrets = self.stack.layout.home.secrets()
        password = secrets.operator_password if name == "operator" else secrets.demo_password
        page = self.page
        await page.click("button:has-text('Sign in')")
        await page.fill("#name", name)
        await page.fill("#password", password)
        await page.keyboard.press("Enter")
        await page.click("button[value=allow]")
        await page.wait_for_url(f"{self.url}/**")
        await self.settled()

    async def violations(self) -> list[str]:
        """Give what axe finds wrong with the view, WCAG 2.2 A and AA and best practices."""
        await self.page.evaluate(AXE_FILE_PATH.read_text(encoding="utf-8"))
        found: dict[str, Any] = await self.page.evaluate("axe.run()")
        return [
            f"{rule['id']}: {node['target']} {node['failureSummary']}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]

    async def overflow(self) -> int:
        """Give by how many pixels the view is wider than the window."""
        wide: int = await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide

    async def cut_off(self) -> list[str]:
        """Give what is wider than its place, so that it has to be scrolled; a line of a terminal may be."""
        found: list[str] = await self.page.evaluate(
            "[...document.querySelectorAll('main :not(code, input, textarea, select, .unseen)')]"
            ".filter((it) => it.scrollWidth > it.clientWidth + 1"
            " && /auto|scroll|hidden/.test(getComputedStyle(it).overflowX))"
            ".map((it) => `${it.tagName} ${it.className}`)"
        )
        return found

    async def moved(self) -> float:
        """Give by how much the view has moved since the page was loaded, by itself (layout shift)."""
        by: float = await self.page.evaluate(
            "new Promise((done) => { let sum = 0;"
            " new PerformanceObserver((list) => { for (const it of list.getEntries())"
            " if (!it.hadRecentInput) sum += it.value; })"
            ".observe({ type: 'layout-shift', buffered: true }); setTimeout(() => done(sum), 100); })"
        )
        return by

    async def stopped(self) -> list[str]:
        """Give what the page's policy has stopped in this document."""
        found: list[str] = await self.page.evaluate("window.stopped")
        return found


@asynccontextmanager
async def at_the_page(browser: Browser, stack: Stack, **context: Any) -> AsyncIterator[Person]:
    """Open the page in a browser of its own."""
    made = await browser.new_context(viewport=context.pop("viewport", DESK), **context)
    await made.add_init_script(_LISTEN)
    page = await made.new_page()
    person = Person(stack, made, page)
    page.on("pageerror", lambda error: person.complaints.append(str(error)))
    page.on("console", lambda line: person.complaints.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: person.asked.add(request.url))
    page.set_default_timeout(120_000)
    try:
        await page.goto(person.url)
        await page.wait_for_selector("h1")
        yield person
    finally:
        await made.close()


async def submit(person: Person, addresses: list[str], project: str) -> str:
    """Fill in the form and give the job's id."""
    page = person.page
    await person.open("/import")
    await page.fill("#references", "\n".join(addresses))
    await page.select_option("#project", "")
    await page.fill("#name", project)
    await page.fill("#tags", "first, trial")
    await page.click("button:has-text('Start the import')")
    await page.wait_for_url(re.compile("#/jobs/"))
    return page.url.rpartition("/")[2]


async def bury(stack: Stack, name: str, topic: str = "document.scrape") -> None:
    """Put a dead letter that nobody can read on a topic."""
    backend = KafkaBackend(stack.kafka.bootstrap)
    producer = backend.producer()
    await producer.start()
    headers = (
        ("sluice-attempt", b"3"),
        ("sluice-code", b"malformed"),
        ("sluice-origin-topic", topic.encode()),
        ("sluice-origin-partition", b"4"),
        ("sluice-origin-offset", b"17"),
        ("sluice-sha256", b"ab" * 32),
        ("sluice-died", b"1790000000.000"),
    )
    await producer.send([Outgoing(f"{topic}.dead", name.encode(), b"Jane Roe {", headers)])
    await producer.stop()


async def token(person: Person) -> str:
    """Give a token of the page's that is good for a while."""
    session = "import(document.querySelector('script').src.replace('main.js', 'session.js'))"
    found: str = await person.page.evaluate(f"{session}.then((it) => it.token())")
    return found


async def username(person: Person) -> str:
    """Give what the person is known as."""
    headers = {"Authorization": f"Bearer {await token(person)}"}
    answer = await person.context.request.get(f"{person.url}/v2/user", headers=headers)
    return str((await answer.json())["username"])
