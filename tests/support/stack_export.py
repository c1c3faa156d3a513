"""What tests of exports need of the whole stack: resources in its store, and clients that may see them."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import msgspec

from sluice_client import Credentials, SluiceClient
from sluice_stack.source.server import SAMPLE
from sluice_stack.stack import Stack
from sluice_storage.resources.load import files_in, load_folder


class _Resource(msgspec.Struct):
    id: str


@dataclass(frozen=True, slots=True)
class Sample:
    """The synthetic patients' ids, and how many resources the store has of each of the sample's types.

    Other tests that share the stack may have brought some of them.
    """

    patients: tuple[str, ...]
    counts: Counter[str]


async def load_sample(stack: Stack) -> Sample:
    """Load the sample into the stack's store; loading it again changes nothing."""
    done = await load_folder(stack.dsn("sluice_loader"), files_in(SAMPLE))
    types = {type_ for _, outcome, _ in done for type_ in outcome.types}
    held = "SELECT count(*) FROM fhir.resources WHERE type = $1 AND superseded_by IS NULL AND NOT deleted"
    rows = await asyncpg.connect(stack.dsn())
    counts = Counter({type_: await rows.fetchval(held, type_) for type_ in types})
    await rows.close()
    with gzip.open(SAMPLE / "Patient.ndjson.gz", "rb") as lines:
        patients = tuple(msgspec.json.decode(line, type=_Resource).id for line in lines)
    return Sample(patients, counts)


def operator(stack: Stack) -> SluiceClient:
    """Give the operator's client; it is not open."""
    secrets = stack.layout.home.secrets()
    return SluiceClient(
        stack.addresses.gateway,
        auth_url=stack.addresses.auth,
        credentials=Credentials(client_id=secrets.operator_id, client_secret=secrets.operator_secret),
    )


async def grant(
    stack: Stack, client_id: str, group: str | None = None, members: tuple[str, ...] = ()
) -> str | None:
    """Let a client see everything, or a new group of these members; gives the group's id."""
    async with operator(stack) as operators:
        if group is None:
            await operators.give_grant(client=client_id, all_patients=True)
            return None
        made = await operators.create_group(group)
        await operators.add_members(made.id, members)
        await operators.give_grant(client=client_id, group=made.id)
        return made.id


def lines(folder: Path, type_: str) -> list[bytes]:
    """Give all resources of a type in a folder's NDJSON files, packed or not."""
    found: list[bytes] = []
    for path in sorted(folder.glob(f"{type_}.*ndjson*")):
        data = path.read_bytes()
        found += (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
    return found
