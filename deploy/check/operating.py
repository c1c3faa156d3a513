"""The commands of docs/operations.md, in the stack's containers, while it runs."""

from __future__ import annotations

import json
import secrets
from functools import partial

from containers import Stack, require, until
from portal import API, ISSUER, Portal, operator_of, signing_keys

_LETTERS = 3
# Records that are no commands, which die.
_WRITE = f"""
import asyncio, os
from aiokafka import AIOKafkaProducer
async def main():
    async with AIOKafkaProducer(bootstrap_servers=os.environ["SLUICE_KAFKA"]) as producer:
        for number in range({_LETTERS}):
            await producer.send_and_wait("document.fetch", b"no command", key=b"%d" % number)
asyncio.run(main())
"""


def doctor(stack: Stack, portal: Portal) -> str:  # noqa: ARG001
    """Have the doctor look the stack over, from outside the proxy and from inside."""
    who = operator_of(stack)
    stack.once(
        *("cli", "--profile", "operator", "login", API, "--auth-url", ISSUER, "--client-id", who.client_id),
        options=("-e", f"SLUICE_CLIENT_SECRET={who.client_secret}"),
    )
    found = json.loads(stack.once("cli", "--profile", "operator", "doctor", "--json"))
    states = {each["name"]: each["state"] for each in found}
    require(states["readiness"] == "skipped", f"readiness is {states['readiness']}")
    require(states["gateway"] == states["postgres"] == states["clocks"] == "ok", f"the doctor says {found}")
    warned = [f"{each['name']}: {each['text']}" for each in found if each["state"] == "warning"]
    return f"nothing is failing, {len(found)} things were looked at" + "".join(f"; {each}" for each in warned)


def rebuilt(stack: Stack, portal: Portal) -> str:  # noqa: ARG001
    """Have the tables of jobs made again from the log, and compare them."""
    said = stack.inside("status", "python", "-m", "sluice_status.rebuild").strip().splitlines()
    require(said[-1] == "the tables are as the log says", "\n".join(said))
    return said[-2]


def redriven(stack: Stack, portal: Portal) -> str:  # noqa: ARG001
    """Have dead letters tried again whose cause is not gone: each dies again, and once."""
    died = _letters(stack)
    stack.inside("fetcher", "python", "-c", _WRITE)
    said = []
    for _ in range(2):
        died += _LETTERS
        until(partial(_have_died, stack, died), "what is no command did not die, or not again")
        said.append(stack.once("topics", "sluice-topics", "redrive", "document.fetch").strip())
        require(int(said[-1].removeprefix("redriven ")) >= _LETTERS, said[-1])
    return f"{' and '.join(said)}, of which {_LETTERS} died again"


def _letters(stack: Stack) -> int:
    listed = stack.once("topics", "sluice-topics", "list").splitlines()
    (row,) = (line.split() for line in listed if line.startswith("document.fetch.dead "))
    return int(row[2])


def _have_died(stack: Stack, number: int) -> bool:
    return _letters(stack) >= number


def keys_rotated(stack: Stack, portal: Portal) -> str:
    """Have another key sign access tokens, while tokens of before go on counting."""
    before = signing_keys(stack)
    stack.inside("auth", "python", "-m", "sluice_auth.operators", "rotate-keys")
    until(lambda: bool(signing_keys(stack) - before), "no key was added")
    require(portal.files() is not None, "the portal is shut out")
    return f"{len(signing_keys(stack))} keys are published"


def secrets_replaced(stack: Stack, portal: Portal) -> str:
    """Replace the services' secret and the master key, seal and wrap everything anew, and forget the old."""
    files, jobs = portal.files(), portal.submit(100)
    old, new = (stack.secrets / "secret").read_text().strip(), secrets.token_hex(32)
    old_key, new_key = (stack.secrets / "master_keys").read_text().strip(), secrets.token_hex(32)
    _write(stack, secret=[old, new], master_keys=[new_key, old_key])
    _write(stack, secret=[new, old])
    sealed = stack.once("backup", options=("--entrypoint", "sluice-reseal"))
    require("auth.signing_keys.sealed: 0" not in sealed, f"nothing was sealed anew: {sealed}")
    wrapped = stack.inside("gateway", "python", "-m", "sluice_storage.encryption.rewrap")
    for what in ("exports", "contents"):
        require(f"{what}: 0 data keys under master key 2" in wrapped, wrapped)
    _write(stack, secret=[new], master_keys=[new_key])
    require(portal.attached(jobs) == 100, "documents were lost meanwhile")
    now = portal.files()
    require(files.items() <= now.items(), "files are not what they were")
    again = stack.once("backup", options=("--entrypoint", "sluice-reseal"))
    require(all(line.endswith(": 0") for line in again.splitlines()), again)
    return f"{len(now)} files are read under the new master key alone"


def _write(stack: Stack, **files: list[str]) -> None:
    for name, lines in files.items():
        # In place: containers have the file itself.
        with (stack.secrets / name).open("r+") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.truncate()
    stack.restart()
