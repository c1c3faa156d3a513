"""The demo's second half: what its source exports in bulk is pulled, and exported again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from sluice_client import Credentials, Exported, ExportRequest, PullRequest, SluiceClient, SluiceError
from sluice_client.cli.config import Profile
from sluice_client.cli.export_progress import label, showing_export
from sluice_client.cli.pull_progress import showing_pull
from sluice_contracts.words import counted
from sluice_security.keys import make_key_pair
from sluice_stack.cli_profiles import Profiles
from sluice_stack.home import Addresses

Say = Callable[[str], None]
# Nothing here takes longer unless something is wrong.
_PATIENCE = 600.0


async def pull_all(addresses: Addresses, portal: Credentials | None, console: Console, say: Say) -> None:
    """Import what the demo source exports; what is there already stays as it is.

    Raises
    ------
    SluiceError
        Some of it could not be loaded.
    """
    url = f"{addresses.source}/synthea/fhir/$export"
    say(f"a portal has everything pulled that {url} exports")
    began = time.monotonic()
    async with SluiceClient(addresses.gateway, auth_url=addresses.auth, credentials=portal) as client:
        with showing_pull(console, quiet=False) as progress:
            done = await client.pull(PullRequest(export_url=url), timeout=_PATIENCE, on_status=progress)
    for each in (*done.outcomes, *done.problems):
        console.print(each.text, soft_wrap=True)
    if done.errors:
        raise SluiceError(f"{counted(done.errors, 'thing')} could not be loaded.", "They are listed above.")
    say(f"that took {time.monotonic() - began:.1f} s")


async def registered(addresses: Addresses, profiles: Profiles, say: Say) -> Profile:
    """Give the client that exports: registered with a key of its own the first time."""
    profile = profiles.exporter()
    if profile is None:
        pair = make_key_pair()
        path = profiles.path.with_name("exporter-key.json")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(msgspec.json.encode(pair.private))
        async with SluiceClient(addresses.gateway, auth_url=addresses.auth) as client:
            profile = profiles.keep_exporter(
                await client.register_key("demo exporter", jwks=pair.public), path
            )
        say("a client that exports was registered with its public key")
    return profile


async def grant_everything(addresses: Addresses, operator: Credentials, client_id: str, say: Say) -> None:
    """Let the client see everything, unless it may already."""
    async with SluiceClient(
        addresses.gateway, auth_url=addresses.auth, credentials=operator, scopes=("ops/access",)
    ) as client:
        if [grant async for grant in client.grants(grantee=client_id) if grant.all_patients]:
            return
        await client.give_grant(client=client_id, all_patients=True)
    say("an operator granted it all patients' data")


async def export_all(profile: Profile, folder: Path, console: Console) -> Table:
    """Export everything to a folder, and give the table of what came."""
    began = time.monotonic()
    async with profile.client() as client:
        with showing_export(console, quiet=False) as progress:
            # What an earlier demo exported makes room.
            done = await client.export(folder, ExportRequest(), restart=True, progress=progress)
    return exported_table(done, time.monotonic() - began)


def exported_table(done: Exported, seconds: float) -> Table:
    """Make the table of an export that took so many seconds, from its kick-off to its last byte.

    All types share that time, most of which goes to waiting between polls where there is little to export.
    """
    resources: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for file in done.files.values():
        name = label(file)
        resources[name] = resources.get(name, 0) + (file.count or 0)
        sizes[name] = sizes.get(name, 0) + (file.size or 0)
    total, size = sum(resources.values()), sum(sizes.values())
    table = Table(title=f"{total} resources exported", title_justify="left", show_footer=True)
    table.add_column("type", footer="all")
    table.add_column("resources", justify="right", footer=f"{total:,}")
    table.add_column("bytes", justify="right", footer=f"{size:,}")
    table.add_column("rate", justify="right", footer=f"{total / max(seconds, 1e-9):,.0f} resources/s")
    for name in sorted(resources):
        rate = resources[name] / max(seconds, 1e-9)
        table.add_row(name, f"{resources[name]:,}", f"{sizes[name]:,}", f"{rate:,.0f} resources/s")
    return table
