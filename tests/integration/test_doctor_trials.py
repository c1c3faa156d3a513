"""What the doctor is for, tried for real: a machine's clock that is wrong, and a disk that is nearly full."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from sluice_client import SluiceClient
from sluice_client.doctor import Doctor
from sluice_fhir.source_store import SourceStore
from sluice_fhir.sources import SourceDraft
from support.gateway_process import Running, gateway_process
from support.stack import Database


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _clock(ahead: float) -> float:
    return time.time() + ahead


async def test_a_clock_that_is_wrong_is_told_whichever_way(
    database: Database, kafka: str, scratch: Path
) -> None:
    async with gateway_process(database, kafka, scratch) as running:
        for wrong in (300.0, -300.0):
            async with SluiceClient(running.url) as client:
                found = await Doctor(client, running.url, now=partial(_clock, wrong)).look()
            clock = next(each for each in found if each.name == "clock")
            assert clock.state == "failing"
            assert "NTP" in clock.advice


async def findings(running: Running) -> dict[str, dict[str, str]]:
    headers = running.authority.bearer(scopes="ops/health")
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{running.url}/v2/ops/health", headers=headers) as answer,
    ):
        return {each["name"]: each for each in (await answer.json())["findings"]}


async def test_a_folder_of_objects_that_is_not_there_is_told_and_what_else_there_is(
    database: Database, kafka: str, scratch: Path
) -> None:
    async with gateway_process(database, kafka, scratch) as running:
        assert (await findings(running))["objects"]["state"] == "ok"
        (scratch / "objects").rmdir()
        found = await findings(running)
    assert (found["objects"]["state"], "mounted" in found["objects"]["advice"]) == ("failing", True)
    assert found["gateway's disk"]["text"]


async def test_another_secret_than_credentials_are_sealed_under_is_told(
    database: Database, kafka: str, scratch: Path
) -> None:
    async with asyncpg.create_pool(database.dsn_for("gateway")) as pool:
        draft = SourceDraft(name="Ward", base_url="https://ward.example/r4")
        await SourceStore(pool, b"another secret, of 32 bytes or so").create(draft)
    async with gateway_process(database, kafka, scratch) as running:
        told = (await findings(running))["secret"]
        headers = running.authority.bearer(scopes="ops/sources")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{running.url}/v2/fhir/sources", headers=headers) as answer,
        ):
            listed = (await answer.json())["items"]
    assert (told["state"], "SLUICE_SECRET" in told["text"]) == ("failing", True)
    assert [(source["name"], source["auth"]) for source in listed] == [("Ward", {"type": "unreadable"})]


async def test_a_disk_that_is_nearly_full_is_told_to_operators(
    database: Database, kafka: str, scratch: Path
) -> None:
    objects = scratch / "objects"
    with small_disk(objects):
        async with gateway_process(database, kafka, scratch) as running, aiohttp.ClientSession() as session:
            headers = running.authority.bearer(scopes="ops/health")
            states = []
            for more in (0, 950_000, 90_000):
                (objects / f"filler-{more}").write_bytes(bytes(more))
                async with session.get(f"{running.url}/v2/ops/health", headers=headers) as answer:
                    found = {each["name"]: each for each in (await answer.json())["findings"]}
                states.append(found["objects' disk"]["state"])
                assert found["clocks"]["state"] == "ok"
                assert "gateway's disk" in found
    assert states == ["ok", "warning", "failing"]
