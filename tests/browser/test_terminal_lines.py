"""Every line for a terminal that the page shows is run as it is shown, with the page's token."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from playwright.async_api import Browser, expect

from sluice_stack.stack import Stack
from support.page import NEEDS_CHROMIUM, Person, at_the_page, bury, chromium, token, username
from support.page_jobs import begun, faulty_source, static_import
from support.portal import register_source
from support.stack_export import load_sample, operator
from support.stack_whole import frozen_services

pytestmark = NEEDS_CHROMIUM
PAGE = Path(__file__).parents[2] / "services/gateway/src/sluice_gateway/static/dashboard"
# Each does something, or ends a job: one line after the other, and not the same to the same thing twice.
ENDING = ("Cancel it", "Delete it", "Forget it, and keep what it loaded")
ENDLESS = "Follow them as they change"
REGISTER = "Register one"
LINES = (
    "[...document.querySelectorAll('.way')].map((it) => [it.querySelector('strong').textContent,"
    " [...it.querySelectorAll('code')].map((line) => line.textContent)])"
)
# A line's title in the page's code; what is written in another way has its own assertion.
TITLES = re.compile(r'\["([A-Z][^"]+)",\s*(?:curl|null|sluice|downloading|importing)')


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


class Terminal:
    """A shell with what the page's first line exports, in a folder of its own."""

    def __init__(self, person: Person, folder: Path) -> None:
        self._person = person
        self._folder = folder
        self.ran: set[str] = set()
        (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")

    async def shown(self) -> list[tuple[str, list[str]]]:
        """Give the lines of the view, by what they do."""
        await self._person.settled()
        found = await self._person.page.evaluate(LINES)
        return [(title, lines) for title, lines in found]

    async def token(self) -> str:
        return await token(self._person)

    async def run(self, title: str, line: str) -> str:
        """Run a line and give what it prints; what never ends is ended after its first words.

        Of a bulk import that has errors to report, the command line says so by its exit code, too.
        """
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {"PATH": path, "HOME": str(self._folder), "CURL_HOME": str(self._folder)}
        variables |= {"SLUICE_URL": self._person.url, "SLUICE_TOKEN": await self.token()}
        process = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            f"exec {line}" if title == ENDLESS else line,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=variables,
            cwd=self._folder,
        )
        self.ran.add(title)
        if title == ENDLESS:
            assert process.stdout is not None
            said = await process.stdout.readline()
            process.terminate()
            await process.communicate()
            assert said, line
            return said.decode()
        out, err = await process.communicate()
        incomplete = line.startswith("sluice pull --job") and b"error:" in out
        assert process.returncode == incomplete, (line, out, err)
        return out.decode()

    async def run_all(self) -> dict[str, list[str]]:
        """Run all lines of the view that leave it as it is; gives what each printed, by title."""
        left_out = (*ENDING, REGISTER)
        shown = [(title, lines) for title, lines in await self.shown() if title not in left_out]
        assert shown
        said = await asyncio.gather(*(self.run(title, line) for title, lines in shown for line in lines))
        answers = iter(said)
        return {title: [next(answers) for _ in lines] for title, lines in shown}

    async def run_one(self, title: str, number: int) -> str:
        """Run one line of the view: the curl one, or that of the command line."""
        (lines,) = [lines for each, lines in await self.shown() if each == title]
        return await self.run(title, lines[number])


class Starting:
    """Jobs of each kind, begun with the page's token."""

    def __init__(self, person: Person, stack: Stack, project: str) -> None:
        self._person = person
        self._source = stack.layout.source_url
        self._project = project

    async def documents(self) -> str:
        reference = f"{self._source}/r4/fhir/DocumentReference/bench-000042"
        headers = {"Authorization": f"Bearer {await token(self._person)}", "X-SBG-Advance-Access": "Advance"}
        body = {"items": [{"fhir_document_reference": reference, "project": self._project}]}
        url = f"{self._person.url}/v2/bulk/fhir"
        async with aiohttp.ClientSession() as http, http.post(url, headers=headers, json=body) as answer:
            return str((await answer.json())["id"])

    async def pull(self) -> str:
        url = f"{self._source}/synthea/fhir/$export?_type=Patient,Condition"
        return await begun(self._person, "/fhir/$import", {"name": "exportUrl", "valueUrl": url})

    async def export(self) -> str:
        types = {"name": "_type", "valueString": "Patient"}
        return await begun(self._person, "/fhir/Patient/$export", types)


async def test_every_line_that_the_page_shows_does_what_it_says(
    browser: Browser, stack: Stack, tmp_path: Path
) -> None:
    await load_sample(stack)
    await bury(stack, "lines", topic="document.scrape")
    async with aiohttp.ClientSession() as http, at_the_page(browser, stack) as person:
        for name in ("r4", "synthea"):
            await register_source(stack, http, name)
        page = person.page
        await person.sign_in("operator")
        terminal = Terminal(person, tmp_path)
        async with operator(stack) as operators:
            await operators.give_grant(user=await username(person), all_patients=True)

        name = f"Lines {uuid4().hex[:6]}"
        job, project = await _imports(person, terminal, stack, name)
        await person.open(f"/jobs/{job}")
        await expect(page.locator(".progress .badge")).to_have_text("1 failed")
        said = await terminal.run_all()
        assert all("document_not_found" in each for each in said["List what failed"])
        for view in ("/jobs?kind=document-import&state=FINISHED", "/files", "/sources", "/dead-letters"):
            await person.open(view)
            await terminal.run_all()
        await person.open(f"/files/{project}?tag=lines")
        await terminal.run_all()
        await page.locator(".entries a").first.click()
        await terminal.run_all()
        file = await page.inner_text("h1")
        assert (tmp_path / file).read_bytes() == (tmp_path / "downloads" / file).read_bytes()
        await _registered(person, terminal)

        await _each_kind(person, terminal, stack, Starting(person, stack, project))
        await _faulty(person, terminal, stack)
        code = "".join(part.read_text() for part in PAGE.glob("*.js"))
        assert set(TITLES.findall(code)) - terminal.ran == set()
        assert set(ENDING) <= terminal.ran
        # What a line deletes, the page that shows it finds gone.
        assert [each for each in person.complaints if "404" not in each] == []


async def _imports(person: Person, terminal: Terminal, stack: Stack, name: str) -> tuple[str, str]:
    """Make a project and import into it by the lines of the form; gives a job of curl's and the project."""
    page = person.page
    source = f"{stack.layout.source_url}/r4/fhir/DocumentReference"
    await person.open("/import")
    await page.select_option("#project", "")
    await page.fill("#name", name)
    await terminal.run_all()
    await page.reload()
    await person.settled()
    await page.select_option("#project", label=name)
    project = await page.input_value("#project")
    await terminal.run_all()
    await page.fill("#references", "\n".join([f"{source}/bench-000007", f"{source}/bench-000008"]))
    await page.fill("#tags", "lines, it's one")
    await page.select_option("#conflict", "AUTORENAME")
    assert "attached" in (await terminal.run_all())["Import these documents"][1]
    await page.fill("#references", f"{source}/bench-000009\n{source}/fault-not-found.lines")
    said = await terminal.run_one("Import these documents", 0)
    found = re.search(r'"id": ?"([0-9a-f-]{36})"', said)
    assert found is not None
    return found[1], project


async def _registered(person: Person, terminal: Terminal) -> None:
    for number in (0, 1):
        await person.open("/sources")
        made = (await terminal.run_one(REGISTER, number)).strip()
        found = re.search(r'"id": ?"([^"]+)"', made)
        await terminal.run("", f"sluice sources remove {found[1] if found else made}")


async def _each_kind(person: Person, terminal: Terminal, stack: Stack, starting: Starting) -> None:
    page = person.page
    with frozen_services(stack, "fetcher", "puller", "exporter"):
        for start in (starting.documents, starting.pull, starting.export):
            for number in (0, 1):
                await person.open(f"/jobs/{await start()}")
                await terminal.run_one("Cancel it", number)
    for start, title, there in (
        (starting.pull, "Forget it, and keep what it loaded", "See what became of its files"),
        (starting.export, "Delete it", "Download all of it"),
    ):
        jobs = [await start(), await start()]
        for number, job in enumerate(jobs):
            await person.open(f"/jobs/{job}")
            await expect(page.locator(".progress .badge")).to_have_text("Done")
            await expect(page.locator(f".way strong:has-text('{there}')")).to_have_count(1)
            if not number:
                await terminal.run_all()
            await terminal.run_one(title, number)
            await page.reload()
            await expect(page.locator("[role=alert]")).to_contain_text("There is no such")


async def _faulty(person: Person, terminal: Terminal, stack: Stack) -> None:
    async with faulty_source() as url, aiohttp.ClientSession() as http:
        await register_source(stack, http, "faulty", base_url=url)
        await person.open(f"/jobs/{await begun(person, '/fhir/$import', *static_import(url))}")
        await expect(person.page.locator(".progress .badge")).to_have_text("1 failed")
        await expect(person.page.locator(".way strong:has-text('See what went wrong')")).to_have_count(1)
        said = await terminal.run_all()
        assert all("line 2" in each for each in said["See what went wrong"])
