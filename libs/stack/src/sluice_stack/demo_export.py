"""The demo's second half: what it holds is loaded into the resource store and exported in bulk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from sluice_client import Credentials, Exported, ExportRequest, SluiceClient
from sluice_client.cli.config import Profile
from sluice_client.cli.export_progress import label, showing_export
from sluice_security.keys import make_key_pair
from sluice_stack.cli_profiles import Profiles
from sluice_stack.home import Addresses, Home
from sluice_stack.loading import load_files, store_of
from sluice_storage.resources.load import files_in

Say = Callable[[str], None]


async def load_sample(home: Home, sample: Path, console: Console, say: Say) -> None:
    """Load the synthetic patients into the resource store; what is there already stays as it is."""
    done = await load_files(store_of(home), files_in(sample), console)
    outcomes = [outcome for _, outcome, _ in done]
    new = sum(outcome.created + outcome.updated for outcome in outcomes)
    seconds = sum(seconds for _, _, seconds in done)
    total = sum(outcome.read for outcome in outcomes)
    say(f"an operator loaded {total} resources into the store in {seconds:.1f} s, {new} of them new")


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
