"""`sluice grants` and `sluice groups` as operators use them, against a gateway on a real Postgres."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sluice_client import Credentials, SluiceClient
from support.gateway_real import RealSite, listening_gateway
from support.stack import Database

Done = tuple[int, str, str]
Cli = Callable[..., Awaitable[Done]]


def authorization(site: RealSite) -> web.Application:
    """Give a server that gives tokens of the operator to whoever asks."""

    async def discover(request: web.Request) -> web.Response:
        base = f"http://{request.host}"
        return web.json_response({"issuer": base, "token_endpoint": f"{base}/oauth/token"})

    async def token(_request: web.Request) -> web.Response:
        minted = site.authority.mint(client="ops", subject="ops", scopes="ops/access ops/groups ops/audit")
        return web.json_response({"access_token": minted, "token_type": "Bearer", "expires_in": 300})

    app = web.Application()
    app.router.add_get("/.well-known/oauth-authorization-server", discover)
    app.router.add_post("/oauth/token", token)
    return app


@pytest.fixture
async def addresses(database: Database) -> AsyncIterator[tuple[str, str]]:
    async with listening_gateway(database) as (site, url), TestServer(authorization(site)) as server:
        yield url, str(server.make_url("")).rstrip("/")


@pytest.fixture
def cli(addresses: tuple[str, str], tmp_path: Path) -> Cli:
    url, auth = addresses
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    variables |= {"SLUICE_URL": url, "SLUICE_AUTH_URL": auth, "SLUICE_CLIENT_ID": "ops"}
    variables |= {"SLUICE_CLIENT_SECRET": "s", "SLUICE_CONFIG": str(tmp_path / "none.json"), "COLUMNS": "200"}

    async def run(*arguments: str, stdin: str = "") -> Done:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from sluice_client.cli.entry import main; main()",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=variables,
        )
        out, err = await process.communicate(stdin.encode())
        return process.returncode or 0, out.decode(), err.decode()

    return run


async def printed(cli: Cli, *arguments: str, stdin: str = "") -> Any:
    code, out, err = await cli(*arguments, "--json", stdin=stdin)
    assert code == 0, err
    return json.loads(out)


async def test_a_group_is_made_filled_shown_and_deleted(cli: Cli, tmp_path: Path) -> None:
    assert (await cli("groups", "create", "trial", "p1", "--name", "Trial"))[1] == "trial: 1 member\n"
    listed = tmp_path / "patients.txt"
    listed.write_text("p2\n\np3\n")
    code, out, _ = await cli("groups", "add", "trial", "p1", "--from", str(listed))
    assert (code, out) == (0, "2 joined, 0 left, 3 members; 3 of those named are not in the store (yet)\n")
    done = await printed(cli, "groups", "remove", "trial", "--from", "-", stdin="p3\n")
    assert (done["removed"], done["members"]) == (1, 2)
    replaced = await cli("groups", "replace", "trial", "p1", "p2", "p2", "--name", "Second trial")
    assert replaced[1] == "trial: 2 members\n"
    assert (await cli("groups", "replace", "trial"))[0] == 1
    members = await printed(cli, "groups", "members", "trial")
    assert [member["patient"] for member in members] == ["p1", "p2"]
    assert "Second trial" in (await cli("groups", "show", "trial"))[1]
    assert [group["id"] for group in await printed(cli, "groups", "list")] == ["trial"]
    assert (await cli("groups", "delete", "trial"))[:2] == (0, "deleted\n")
    assert (await cli("groups", "show", "trial"))[0] == 4


async def test_a_grant_is_given_listed_and_revoked(cli: Cli) -> None:
    await cli("groups", "create", "trial")
    types = ("--type", "Patient", "--type", "Observation")
    code, out, err = await cli("grants", "add", "--client", "portal", "--group", "trial", *types)
    assert code == 0, err
    given = out.strip()
    until = await printed(
        cli, "grants", "add", "--user", "user-1", "--all-patients", "--expires", "2999-01-31"
    )
    assert until["expires_on"] == "2999-01-31T00:00:00Z"
    shown = (await cli("grants", "list", "--grantee", "portal"))[1]
    assert given in shown
    assert "Observation, Patient" in shown
    assert (await cli("grants", "revoke", given))[:2] == (0, "revoked\n")
    assert [grant["id"] for grant in await printed(cli, "grants", "list")] == [until["id"]]
    assert len(await printed(cli, "grants", "list", "--ended")) == 2
    assert (await cli("grants", "revoke", given))[0] == 4


@pytest.mark.parametrize(
    "arguments",
    [
        ("add",),
        ("add", "--client", "a", "--user", "b", "--all-patients"),
        ("add", "--client", "a"),
        ("add", "--client", "a", "--all-patients", "--expires", "soon"),
    ],
)
async def test_a_grant_that_is_not_clear_is_wrong_usage(cli: Cli, arguments: tuple[str, ...]) -> None:
    assert (await cli("grants", *arguments))[0] == 2


async def test_the_client_sends_any_number_of_patients(addresses: tuple[str, str]) -> None:
    url, auth = addresses
    credentials = Credentials(client_id="ops", client_secret="s")
    many = [f"p{number:05}" for number in range(20_001)]
    async with SluiceClient(url, auth_url=auth, credentials=credentials) as sluice:
        made = await sluice.create_group("Everybody", patients=many)
        assert made.members == len(many)
        assert [member.patient async for member in sluice.group_members(made.id)] == many
        assert (await sluice.add_members(made.id, ["p00000"])).added == 0
        assert (await sluice.remove_members(made.id, many)).removed == len(many)
        assert (await sluice.remove_members(made.id, [])).members == 0


async def test_what_operators_did_is_listed_newest_first_and_narrowed(cli: Cli) -> None:
    for command in (("groups", "create", "trial"), ("grants", "add", "--client", "c", "--group", "trial")):
        code, _, err = await cli(*command)
        assert code == 0, err
    code, out, err = await cli("--json", "audit", "--since", "2020-01-01", "--entity", "Group/trial")
    assert code == 0, err
    (group,) = json.loads(out)
    assert (group["subtype"][-1]["code"], group["outcome"]) == ("group.change", "0")
    code, out, _ = await cli("audit", "--act", "grant.give")
    assert code == 0
    assert "grant.give" in out
    assert "group.change" not in out
    assert (await cli("audit", "--until", "2020-01-01"))[1].strip() == "No records."
    assert (await cli("audit", "--since", "then"))[0] == 2
    assert (await cli("audit", "--outcome", "x"))[0] != 0
