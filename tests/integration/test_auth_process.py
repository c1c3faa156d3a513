"""The authorization server as operators run it: a process, its environment, Postgres, and two of them."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import ClientSession

from sluice_security.authority import HttpAuthority
from sluice_security.tokens import InvalidToken, TokenVerifier
from sluice_stack.processes import free_port
from support.auth_server import OPERATOR, SECRET
from support.stack import Database

GATEWAY = "https://api.test"


def environment(database: Database, port: int, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "SLUICE_POSTGRES": database.dsn_for("auth"),
        "SLUICE_SECRET": SECRET,
        "SLUICE_ISSUER": f"http://127.0.0.1:{port}",
        "SLUICE_PUBLIC_URL": GATEWAY,
        "SLUICE_LISTEN": f"127.0.0.1:{port}",
        "SLUICE_BOOTSTRAP_OPERATOR": ":".join(OPERATOR),
        **more,
    }


@asynccontextmanager
async def running(env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sluice_auth", env=env, stderr=asyncio.subprocess.PIPE
    )
    try:
        await until_ready(f"http://{env['SLUICE_LISTEN']}", process)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until_ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as http:
        while process.returncode is None:
            try:
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    raise AssertionError(f"ended with {process.returncode}")


async def post(http: ClientSession, url: str, form: dict[str, str], status: int = 200) -> dict[str, Any]:
    async with http.post(url, data=form) as answer:
        assert answer.status == status, await answer.text()
        body: dict[str, Any] = await answer.json()
        return body


async def refusal(verifier: TokenVerifier, token: str) -> str:
    """Wait until the token is refused, and give the reason."""
    while True:
        try:
            await verifier.verify(token)
        except InvalidToken as error:
            return error.code
        await asyncio.sleep(0.1)


async def sign_up(http: ClientSession, issuer: str) -> dict[str, str]:
    async with http.post(f"{issuer}/oauth/register", json={"client_name": "Portal"}) as answer:
        assert answer.status == 201
        body = await answer.json()
        return {"client_id": body["client_id"], "client_secret": body["client_secret"]}


async def test_two_processes_issue_tokens_that_verify_and_revoke_for_each_other(database: Database) -> None:
    one_port, two_port = free_port(), free_port()
    issuer, other = f"http://127.0.0.1:{one_port}", f"http://127.0.0.1:{two_port}"
    async with (
        ClientSession() as http,
        running(environment(database, one_port)),
        running(environment(database, one_port, SLUICE_LISTEN=f"127.0.0.1:{two_port}")) as second,
        TokenVerifier(HttpAuthority(http, issuer), issuer=issuer, audience=GATEWAY) as verifier,
    ):
        client = await sign_up(http, issuer)
        form = {"grant_type": "client_credentials", **client}
        here = (await post(http, f"{issuer}/oauth/token", form))["access_token"]
        there = (await post(http, f"{other}/oauth/token", form))["access_token"]
        for token in (here, there):
            assert (await verifier.verify(token)).client == client["client_id"]
        assert await post(http, f"{other}/oauth/revoke", {"token": here, **client}) == {}
        assert (await post(http, f"{issuer}/oauth/introspect", {"token": here, **client})) == {
            "active": False
        }
        assert await refusal(verifier, here) == "revoked"
        assert await verifier.verify(there)
        second.send_signal(signal.SIGTERM)
        assert await second.wait() == 0


async def test_the_bootstrap_operator_may_do_what_operators_do_and_the_trail_says_so(
    database: Database,
) -> None:
    port = free_port()
    env = environment(database, port)
    issuer = env["SLUICE_ISSUER"]
    for _ in range(2):
        async with ClientSession() as http, running(env):
            form = {
                "grant_type": "client_credentials",
                "scope": "ops/sources",
                "client_id": OPERATOR[0],
                "client_secret": OPERATOR[1],
            }
            answer = await post(http, f"{issuer}/oauth/token", form)
            assert answer["scope"] == "ops/sources"
    connection = await asyncpg.connect(database.dsn)
    rows = await connection.fetch("SELECT act, outcome, client, address FROM audit.records ORDER BY at, id")
    await connection.close()
    assert [tuple(row) for row in rows] == [
        ("rotate-keys", 0, None, None),
        ("add-operator", 0, "operator", None),
        ("register", 0, "sluice-dashboard", None),
        ("token", 0, "operator", "127.0.0.1"),
        ("token", 0, "operator", "127.0.0.1"),
    ]


async def operators(env: dict[str, str], *words: str, typed: str = "") -> tuple[int, str]:
    """Run a command of the operators', and give its exit code and what it said."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "sluice_auth.operators", *words],
        env=env,
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


async def signs_in(issuer: str, name: str, password: str) -> bool:
    """Fill in the sign-in page as a browser does."""
    async with ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        async with http.get(f"{issuer}/oauth/consents") as answer:
            proof = re.search('name="proof" value="([^"]+)"', await answer.text())
            assert proof
        form = {"proof": proof[1], "then": "", "name": name, "password": password}
        async with http.post(f"{issuer}/oauth/sign-in", data=form) as answer:
            return f"Signed in as {name}" in await answer.text()


async def test_operators_make_accounts_that_people_sign_in_with(database: Database) -> None:
    env = environment(database, free_port())
    issuer = env["SLUICE_ISSUER"]
    async with running(env):
        code, said = await operators(env, "add-user", "ann")
        shown = dict(line.split(" ") for line in said.splitlines())
        assert code == 0
        assert shown["user_id"].startswith("user-")
        assert await signs_in(issuer, "ann", shown["password"])
        assert await operators(env, "add-user", "ann") == (1, "")
        code, said = await operators(env, "add-user", "bob", "--password-stdin", typed="a long password\n")
        assert code == 0
        assert "password" not in said
        assert await signs_in(issuer, "bob", "a long password")
        assert await operators(env, "set-password", "bob", "--password-stdin", typed="short\n") == (1, "")
        code, said = await operators(env, "set-password", "bob")
        assert not await signs_in(issuer, "bob", "a long password")
        assert await signs_in(issuer, "bob", said.split()[-1])
        assert await operators(env, "remove-user", "bob") == (0, "removed\n")
        assert await operators(env, "remove-user", "bob") == (1, "")
        assert not await signs_in(issuer, "bob", said.split()[-1])


async def test_operators_commands_work_beside_the_running_service(database: Database) -> None:
    port = free_port()
    env = environment(database, port)
    issuer = env["SLUICE_ISSUER"]

    async def command(*words: str) -> str:
        code, said = await operators(env, *words)
        assert code == 0
        return said

    async with ClientSession() as http, running(env):
        shown = dict(line.split(" ") for line in (await command("add", "Ann's laptop")).splitlines())
        form = {"grant_type": "client_credentials", **shown}
        assert "ops/*" in (await post(http, f"{issuer}/oauth/token", form))["scope"]
        async with http.get(f"{issuer}/oauth/jwks") as answer:
            before = await answer.json()
        await command("rotate-keys")
        await command("remove", shown["client_id"])
        await post(http, f"{issuer}/oauth/token", form, 401)
        assert len(before["keys"]) == 1
    async with ClientSession() as http, running(env), http.get(f"{issuer}/oauth/jwks") as answer:
        assert len((await answer.json())["keys"]) == 2


async def failing(env: dict[str, str]) -> tuple[int, str]:
    """Run the service, which is to end by itself, and give its exit code and what it said."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "sluice_auth"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


async def test_wrong_settings_are_named_in_one_line(database: Database) -> None:
    wrong = {"SLUICE_ISSUER": "nonsense", "SLUICE_BOOTSTRAP_OPERATOR": "operator:short"}
    code, said = await failing(environment(database, free_port(), **wrong))
    assert code == 78
    assert all(name in said for name in wrong)
    assert "operator:short" not in said


async def test_another_secret_or_a_port_in_use_is_said_in_one_line(database: Database) -> None:
    env = environment(database, free_port())
    async with running(env):
        code, said = await failing(env)
    assert code == 70
    assert "is the port in use?" in said
    code, said = await failing({**env, "SLUICE_SECRET": "7a" * 32})
    assert code == 78
    # The last line is what a supervisor shows.
    assert "SLUICE_SECRET: the signing keys were sealed under another one" in said.splitlines()[-1]


async def test_only_the_service_reads_its_tables(database: Database) -> None:
    for role in ("gateway", "fetcher", "status"):
        connection = await asyncpg.connect(database.dsn_for(role))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM auth.clients")
        await connection.close()
