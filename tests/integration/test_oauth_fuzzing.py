"""The authorization server against its own document: whatever is asked, no server error, and as it says.

As `test_openapi_fuzzing` does of the gateway's API; half of the requests about a client are about one that is
there, and so is whoever asks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import encode_basic_auth
from aiohttp.test_utils import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice_auth.postgres import PostgresStore
from sluice_auth.remote_keys import KeysUnreachableError
from sluice_auth.wiring import assemble
from sluice_storage.pool import TRANSIENT, open_pool
from support.auth_server import QuietTestServer, cheap_passwords
from support.auth_server import settings as auth_settings
from support.documented import CHECKS, cases, kept, operations, served_apart
from support.stack import Database

DOCUMENT = kept("openapi-auth.json")
PLENTY = dict.fromkeys(("client_failures", "address_failures", "registrations"), 10**6)

OPERATIONS = operations(DOCUMENT)


@dataclass
class Served:
    """A server that runs in a thread of its own."""

    url: str
    http: TestClient[Any, Any]
    loop: asyncio.AbstractEventLoop

    def client(self) -> dict[str, Any]:
        """Sign a client up."""

        async def sign_up() -> dict[str, Any]:
            async with self.http.post("/oauth/register", json={}) as answer:
                found: dict[str, Any] = await answer.json()
                return found

        return asyncio.run_coroutine_threadsafe(sign_up(), self.loop).result(30)


async def _unreachable(_url: str) -> tuple[bytes, str]:
    raise KeysUnreachableError


@asynccontextmanager
async def authorization(database: Database) -> AsyncIterator[TestClient[Any, Any]]:
    async with await open_pool(database.dsn_for("auth"), size=4) as pool:
        store = PostgresStore(pool)
        service = assemble(
            auth_settings(**PLENTY),
            store,
            store,
            now=time.time,
            monotonic=time.monotonic,
            fetch=_unreachable,
            passwords=cheap_passwords(),
            away=TRANSIENT,
        )
        await service.keyring.refresh()
        async with TestClient(QuietTestServer(service.app)) as http:
            yield http


@pytest.fixture(scope="module")
def served(module_database: Database) -> Iterator[Served]:
    with served_apart(authorization(module_database), "auth") as (http, loop):
        yield Served(str(http.make_url("")).rstrip("/"), http, loop)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", OPERATIONS)
def test_whatever_is_asked_is_answered_as_the_document_says(
    served: Served, fuzzing: Callable[[Callable[[], None]], None], name: str
) -> None:
    operation = OPERATIONS[name]
    proofs = {each for way in operation.definition.raw["security"] for each in way}
    client = served.client()

    @given(case=cases(operation), known=st.booleans())
    @settings(max_examples=10, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: Any, known: bool) -> None:
        headers: dict[str, str] = {}
        if known and "client" in proofs:
            headers["Authorization"] = encode_basic_auth(client["client_id"], client["client_secret"])
        if known and "registration" in proofs:
            headers["Authorization"] = f"Bearer {client['registration_access_token']}"
            case.path_parameters["client_id"] = client["client_id"]
        answer = case.call(base_url=served.url, headers=headers, allow_redirects=False)
        case.validate_response(answer, checks=CHECKS, headers=headers)

    fuzzing(ask)


def test_every_operation_is_asked() -> None:
    declared = {each["operationId"] for path in DOCUMENT["paths"].values() for each in path.values()}
    assert set(OPERATIONS) == declared
