"""SMART's own client, smart-fetch, against the whole stack: it registers nothing and knows nothing of us."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sluice_client import ClientKey, KeyCredentials, NotFoundError, SluiceClient
from sluice_security.keys import make_key_pair
from sluice_stack.stack import Stack
from support.stack_export import grant, lines, load_sample


@dataclass(frozen=True, slots=True)
class Backend:
    """A registered client with a key: its id, its key, and the file in which smart-fetch finds that."""

    stack: Stack
    id: str
    key: ClientKey
    file: Path

    def client(self) -> SluiceClient:
        addresses = self.stack.addresses
        credentials = KeyCredentials(self.id, self.key)
        return SluiceClient(addresses.gateway, auth_url=addresses.auth, credentials=credentials)

    async def fetch(self, to: Path, *arguments: str) -> tuple[int, str]:
        """Run smart-fetch; give its exit code and what it said."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; from smart_fetch.cli.main import main_cli; sys.exit(main_cli())",
            *("bulk", "--fhir-url", f"{self.stack.addresses.gateway}/fhir"),
            *("--smart-client-id", self.id, "--smart-key", str(self.file), *arguments, str(to)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
        out, _ = await process.communicate()
        return process.returncode or 0, out.decode()


async def backend(stack: Stack, folder: Path, algorithm: str) -> Backend:
    pair = make_key_pair(algorithm)
    async with SluiceClient(stack.addresses.gateway, auth_url=stack.addresses.auth) as client:
        made = await client.register_key("smart-fetch", jwks=pair.public)
    file = folder / "key.jwks"
    private = {name: value for name, value in pair.private.items() if name != "use"}
    file.write_text(json.dumps({"keys": [{**private, "key_ops": ["sign"]}]}))
    return Backend(stack, made.client_id, ClientKey(pair.private), file)


def events(folder: Path, event: str) -> list[dict[str, Any]]:
    """Give the details of one kind of event in smart-fetch's log."""
    log = [json.loads(line) for line in (folder / "log.ndjson").read_text().splitlines()]
    return [line["eventDetail"] for line in log if line["eventId"] == event]


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
async def test_it_exports_the_system_and_deletes_what_it_has(
    stack: Stack, tmp_path: Path, algorithm: str
) -> None:
    sample = await load_sample(stack)
    one = await backend(stack, tmp_path, algorithm)
    await grant(stack, one.id)
    types = ("Patient", "Condition", "Encounter", "DocumentReference")
    code, said = await one.fetch(tmp_path / "out", "--type", ",".join(types))
    assert code == 0, said
    for type_ in types:
        found = lines(tmp_path / "out", type_)
        assert len(found) == sample.counts[type_], type_
        assert {json.loads(line)["resourceType"] for line in found} == {type_}
    (kicked_off,) = events(tmp_path / "out", "kickoff")
    location = kicked_off["responseHeaders"]["content-location"]
    (complete,) = events(tmp_path / "out", "export_complete")
    assert complete["resources"] == sum(sample.counts[type_] for type_ in types)
    async with one.client() as client:
        with pytest.raises(NotFoundError):
            await client.export_status(location)


async def test_it_exports_a_group_and_nothing_of_others(stack: Stack, tmp_path: Path) -> None:
    sample = await load_sample(stack)
    one = await backend(stack, tmp_path, "ES384")
    members = sample.patients[:3]
    group = await grant(stack, one.id, "Fetched", members)
    assert group is not None
    code, said = await one.fetch(tmp_path / "out", "--group", group, "--type", "Patient,Condition")
    assert code == 0, said
    assert {json.loads(line)["id"] for line in lines(tmp_path / "out", "Patient")} == set(members)
    subjects = {json.loads(line)["subject"]["reference"] for line in lines(tmp_path / "out", "Condition")}
    assert subjects <= {f"Patient/{member}" for member in members}
    assert subjects


async def test_it_is_told_what_it_may_not_do(stack: Stack, tmp_path: Path) -> None:
    await load_sample(stack)
    stranger = await backend(stack, tmp_path, "ES384")
    code, said = await stranger.fetch(tmp_path / "out", "--type", "Patient")
    assert code != 0
    assert "no access to resources of these types" in said
    assert not lines(tmp_path / "out", "Patient")
