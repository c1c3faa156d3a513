"""What the doctor is for, tried for real: a machine's clock that is wrong, and a disk that is nearly full."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from sluice_client import SluiceClient
from sluice_client.doctor import Doctor
from support.gateway_process import gateway_process
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
