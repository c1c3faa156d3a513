"""`make demo`: documents and FHIR data are imported, and exported, end to end, on the real stack."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, TypeVar

import psycopg
import typer
from rich.console import Console

from sluice_client import Credentials, ImportResult, Project, SluiceClient, SluiceError
from sluice_contracts.words import counted
from sluice_settings import from_file
from sluice_stack.cli_profiles import Profiles
from sluice_stack.demo_documents import SOURCES, SYNTHEA, documents
from sluice_stack.demo_export import export_all, grant_everything, pull_all, registered
from sluice_stack.demo_view import Board, further, metadata_table, result_table
from sluice_stack.home import Addresses, Home
from sluice_stack.jars import JarError
from sluice_stack.layout import DEMO, Layout, Ports, usual_scale
from sluice_stack.processes import StackError
from sluice_stack.source.server import SAMPLE
from sluice_stack.stack import Stack
from sluice_stack.up import HomeFolder, say, show, stop_on_terminate, watch

T = TypeVar("T")
console = Console(highlight=False)
# Nothing here takes longer unless something is wrong: seconds in all, and for each document.
_PATIENCE, _PATIENCE_EACH = 600.0, 0.1
_OPERATOR = "SLUICE_BOOTSTRAP_OPERATOR"


async def _register_sources(addresses: Addresses, operator: Credentials) -> None:
    async with SluiceClient(
        addresses.gateway, auth_url=addresses.auth, credentials=operator, scopes=("ops/sources",)
    ) as client:
        known = {source.base_url for source in await client.sources()}
        for base, name in SOURCES.items():
            url = f"{addresses.source}/{base}/fhir"
            if url not in known:
                await client.add_source(name, url)
    say(f"an operator registered {len(SOURCES)} FHIR servers")


async def _portal(client: SluiceClient, profiles: Profiles) -> Project:
    if profiles.portal() is None:
        profiles.keep_portal(await client.sign_up("demo portal"))
        say("a portal signed up and got its credentials")
    await client.token()
    project = await client.create_project(f"Demo of {time.strftime('%Y-%m-%d %H:%M:%S')}")
    say(f"it got a token and created the project {project.id}")
    return project


def _person(addresses: Addresses) -> str | None:
    """Give the id of the person who can sign in to the page.

    None if somebody removed the account, and on a deployment, whose people the demo does not know.
    """
    if not addresses.postgres:
        return None
    with psycopg.connect(addresses.postgres) as connection:
        found = connection.execute("SELECT user_id FROM auth.users WHERE name = %s", (DEMO,)).fetchone()
    return None if found is None else str(found[0])


async def _import(addresses: Addresses, profiles: Profiles, wanted: Sequence[str]) -> tuple[str, str]:
    """Import documents; gives the project, and the last job."""
    portal = profiles.portal()
    async with SluiceClient(addresses.gateway, auth_url=addresses.auth, credentials=portal) as client:
        project = await _portal(client, profiles)
        person = await asyncio.to_thread(_person, addresses)
        if person is not None:
            await client.add_member(project.id, person, write=True)
            say(f"it let {DEMO}, who can sign in to the page, see and change the project")
        board = Board(console, len(wanted))
        began = time.monotonic()
        jobs = [job.id for job in await client.import_documents(wanted, project=project.id, tags=["demo"])]
        say(f"it submitted {counted(len(wanted), 'document')} in {counted(len(jobs), 'call')}")
        with board.live:
            await client.wait_all(
                jobs, timeout=_PATIENCE + _PATIENCE_EACH * len(wanted), on_change=board.changed
            )
        seconds = time.monotonic() - began
        results = [result for job in jobs async for result in client.results(job)]
        console.print()
        console.print(result_table(results, board.pace.rate, seconds))
        await _show_metadata(client, results)
        return project.id, jobs[-1]


async def _show_metadata(client: SluiceClient, results: list[ImportResult]) -> None:
    """Show the metadata of one file of each kind of server that has a schema of its own."""
    for base in ("synthea", "ncpi"):
        files = (each.resource for each in results if f"/{base}/" in each.fhir_document_reference)
        found = next((file for file in files if file is not None), None)
        if found is not None:
            title = f"{found.name}, from {SOURCES[base]}"
            console.print()
            console.print(metadata_table(title, await client.metadata(found.id)))


async def _pull_and_export(home: Home, addresses: Addresses, profiles: Profiles) -> None:
    console.print()
    await pull_all(addresses, profiles.portal(), console, say)
    exporter = await registered(addresses, profiles, say)
    await grant_everything(addresses, profiles.operator(), exporter.client_id, say)
    folder = home.folder / "exports" / "demo"
    table = await export_all(exporter, folder, console)
    console.print()
    console.print(table)
    console.print(f"in {folder}, each file checked by its SHA-256", soft_wrap=True)


async def _with_supervision(stack: Stack | None, work: Awaitable[T]) -> T:
    """Do the work while what dies is started again."""

    async def supervise(running: Stack) -> None:
        while True:
            running.poll()
            await asyncio.sleep(0.3)

    supervisor = asyncio.create_task(supervise(stack)) if stack is not None else None
    try:
        return await work
    finally:
        if supervisor is not None:
            supervisor.cancel()


async def _all_of_it(
    home: Home, addresses: Addresses, profiles: Profiles, choose: Callable[[str], list[str]]
) -> tuple[str, str]:
    await _register_sources(addresses, profiles.operator())
    imported = await _import(addresses, profiles, choose(str(addresses.source)))
    await _pull_and_export(home, addresses, profiles)
    return imported


def run_elsewhere(
    home: Home, choose: Callable[[str], list[str]], gateway: str, auth: str, source: str
) -> None:
    """Run the demo on a deployment; `home` keeps what is exported.

    The operator is the one of `SLUICE_BOOTSTRAP_OPERATOR`, or of the file that `…_FILE` names.

    Raises
    ------
    StackError
        Nothing says who the operator is.
    SluiceError
        The service refused something, or a job did not end in time.
    """
    given = os.environ.get(_OPERATOR) or from_file(_OPERATOR) or ""
    client_id, _, secret = given.partition(":")
    if not secret:
        raise StackError(f"{_OPERATOR} must be the deployment's client_id:secret")
    addresses = Addresses(supervisor=0, gateway=gateway, auth=auth, kafka="", postgres="", source=source)
    home.folder.mkdir(parents=True, exist_ok=True)
    profiles = Profiles(home, addresses, Credentials(client_id=client_id, client_secret=secret))
    asyncio.run(_all_of_it(home, addresses, profiles, choose))


def run(home: Home, choose: Callable[[str], list[str]], *, keep: bool) -> None:
    """Run the demo on the stack in `home`, starting it if it does not run.

    `choose` gives the documents to import from the demo source at the address it is given.

    Raises
    ------
    StackError, JarError
        The stack cannot run.
    SluiceError
        The service refused something, or a job did not end in time.
    """
    with ExitStack() as cleanup:
        addresses, stack = home.running(), None
        if addresses is None:
            layout = Layout(home, Ports.from_environment(), usual_scale(), source=True)
            stack = cleanup.enter_context(Stack(layout, say))
            addresses = stack.addresses
        elif addresses.source is None:
            raise StackError("the stack that runs here has no demo source: start it with --source")
        profiles = Profiles(home, addresses)
        running = keep or stack is None

        async def work() -> None:
            imported = await _all_of_it(home, addresses, profiles, choose)
            said = further(profiles.path, *imported, addresses, running=running)
            console.print(f"\n{said}", soft_wrap=True)

        asyncio.run(_with_supervision(stack, work()))
        if stack is not None and keep:
            show(stack)
            watch(stack)
        elif stack is not None:
            say("stopping; the data stays")


def demo(
    home: HomeFolder = Path(".sluice"),
    keep: Annotated[bool, typer.Option(help="leave the stack running, until Ctrl-C")] = False,
    count: Annotated[int, typer.Option("--documents", help="how many of Synthea's documents")] = SYNTHEA,
    synthea: Annotated[
        Path, typer.Option(envvar="SLUICE_SOURCE_SYNTHEA", help="the folder with Synthea's files")
    ] = SAMPLE,
    gateway: Annotated[
        str | None, typer.Option("--at", help="a deployment's API, instead of a stack on this machine")
    ] = None,
    auth: Annotated[str | None, typer.Option(help="that deployment's authorization server")] = None,
    source: Annotated[str, typer.Option(help="the demo source, as that deployment reaches it")] = "",
) -> None:
    """Import documents and FHIR data from a demo source, and export the data, end to end."""
    stop_on_terminate()

    def choose(url: str) -> list[str]:
        return documents(url, f"run-{time.time():.0f}", synthea, count)

    try:
        if gateway is None:
            run(Home(home), choose, keep=keep)
        else:
            run_elsewhere(Home(home), choose, gateway, auth or gateway, source)
    except KeyboardInterrupt:
        say("stopped")
    except (StackError, JarError, SluiceError) as error:
        console.print(f"[red]the demo cannot go on:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None


def main() -> None:
    """Run the command line."""
    typer.run(demo)


if __name__ == "__main__":
    main()
