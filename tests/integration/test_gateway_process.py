"""The gateway as an operator runs it: it starts, says how it is, keeps its log clean, and stops in order."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import aiohttp

from sluice_streaming.topics_admin import create
from support.catalogue import open_bench
from support.gateway_memory import ADVANCE
from support.gateway_process import gateway_process
from support.stack import Database

MARKER = "canary-smith-1957"


async def test_it_serves_says_how_it_is_and_stops_when_asked(
    database: Database, kafka: str, scratch: Path
) -> None:
    await create(kafka)
    async with (
        gateway_process(database, kafka, scratch) as running,
        aiohttp.ClientSession(running.url) as session,
        open_bench(database) as bench,
    ):
        project = await bench.project("ann")
        async with session.get("/readyz") as answer:
            checks = (await answer.json())["checks"]
            assert checks == {"postgres": "ok", "kafka": "ok", "authorization": "ok"}
        async with session.get("/livez") as answer:
            assert answer.status == 200
        headers = {**running.authority.bearer(client="portal", subject="ann"), **ADVANCE}
        item = {
            "fhir_document_reference": f"https://{MARKER}.example/DocumentReference/{MARKER}",
            "project": project.id,
            "name": MARKER,
            "metadata": {MARKER: MARKER},
        }
        async with session.post("/v2/bulk/fhir", json={"items": [item]}, headers=headers) as answer:
            assert answer.status == 400
            assert "registered source" in (await answer.json())["message"]
        async with session.get(f"/v2/projects?name={MARKER}", headers=headers) as answer:
            assert answer.status == 200
        # A client of which half a request is here must not keep the process from stopping.
        _, hanging = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        hanging.write(b"POST /v2/bulk/fhir HTTP/1.1\r\nHost: x\r\n")
        await hanging.drain()
        assert await running.stop() == 0
        hanging.close()
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]
    answered = [line for line in lines if line["event"] == "answered"]
    assert {line["route"] for line in answered} == {"/v2/bulk/fhir", "/v2/projects"}
    assert MARKER not in running.log.read_text()
    assert "Traceback" not in running.log.read_text()


async def test_it_serves_while_kafka_is_away_and_says_so(database: Database, scratch: Path) -> None:
    async with open_bench(database) as bench:
        project = await bench.project("ann")
        async with (
            gateway_process(database, "127.0.0.1:1", scratch, wait=False) as running,
            aiohttp.ClientSession() as session,
        ):
            checks = await _checks(session, running.url)
            assert (checks["kafka"], checks["postgres"]) == ("away", "ok")
            headers = running.authority.bearer(client="portal", subject="ann")
            async with session.get(f"{running.url}/v2/projects/{project.id}", headers=headers) as answer:
                assert answer.status == 200
            assert await running.stop() == 0


async def _checks(session: aiohttp.ClientSession, url: str) -> dict[str, str]:
    for _ in range(300):
        try:
            async with session.get(f"{url}/readyz") as answer:
                body = await answer.json()
                assert answer.status == 503
                return dict(body["checks"])
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the gateway did not listen")


async def test_wrong_settings_are_one_line_and_an_exit_code(scratch: Path) -> None:
    environment = {**os.environ, "SLUICE_POSTGRES": "postgresql://x", "SLUICE_SECRET": "short"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sluice_gateway",
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == os.EX_CONFIG
    assert b"SLUICE_SECRET" in out
    assert b"Traceback" not in out
