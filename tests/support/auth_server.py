"""The authorization server over a store in memory, on a port of its own, with a clock that tests turn."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from sluice_auth.assertion import ASSERTION_TYPE
from sluice_auth.operator_clients import put_operator
from sluice_auth.passwords import Passwords
from sluice_auth.remote_keys import KeysUnreachableError
from sluice_auth.settings import Settings
from sluice_auth.wiring import Service, assemble
from sluice_security.serving import QuietRunner
from support.auth_store import MemoryStore

ISSUER = "https://auth.test"
GATEWAY = "https://api.test"
TOKEN_URL = f"{ISSUER}/oauth/token"
SECRET = "5f" * 32
OPERATOR = ("operator", "0123456789abcdef0123456789abcdef")


def cheap_passwords() -> Passwords:
    """As the service uses argon2, but at the least cost."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class Clock:
    """Wall clock and monotonic clock in one; `advance` turns it."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class QuietTestServer(TestServer):
    """A test server whose connections are handled as the service's are."""

    async def _make_runner(self, **kwargs: Any) -> QuietRunner:
        return QuietRunner(self.app, **kwargs)


class Web:
    """The key sets that clients publish: by address, the body and its `Cache-Control`."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[bytes, str]] = {}
        self.asked: list[str] = []

    def publish(self, url: str, *keys: dict[str, Any], cache: str = "max-age=60") -> None:
        self.pages[url] = (json.dumps({"keys": keys}).encode(), cache)

    async def fetch(self, url: str) -> tuple[bytes, str]:
        self.asked.append(url)
        if url not in self.pages:
            raise KeysUnreachableError
        return self.pages[url]


class AuthServer:
    """A running server and what tests ask of it."""

    def __init__(
        self, http: TestClient[Any, Any], service: Service, store: MemoryStore, clock: Clock, web: Web
    ) -> None:
        self.http = http
        self.service = service
        self.store = store
        self.clock = clock
        self.web = web

    async def sign_up(self, status: int = 201, token: str | None = None, **metadata: Any) -> dict[str, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.http.post("/oauth/register", json=metadata, headers=headers) as answer:
            return await body_of(answer, status)

    async def ask(
        self,
        form: dict[str, str] | list[tuple[str, str]] | str,
        status: int = 200,
        path: str = "/oauth/token",
        **kwargs: Any,
    ) -> dict[str, Any]:
        if isinstance(form, str):
            kwargs["headers"] = {
                "Content-Type": "application/x-www-form-urlencoded",
                **kwargs.get("headers", {}),
            }
        async with self.http.post(path, data=form, **kwargs) as answer:
            return await body_of(answer, status)

    async def token(self, client: dict[str, Any], status: int = 200, **form: str) -> dict[str, Any]:
        return await self.ask(
            {
                "grant_type": "client_credentials",
                "client_id": client["client_id"],
                "client_secret": client["client_secret"],
                **form,
            },
            status,
        )


async def body_of(answer: ClientResponse, status: int) -> dict[str, Any]:
    text = await answer.text()
    assert answer.status == status, text
    assert "Traceback" not in text
    body = json.loads(text)
    assert isinstance(body, dict)
    return body


def settings(**changes: Any) -> Settings:
    return Settings(
        **{
            "postgres": "unused",
            "secret": SECRET,
            "issuer": ISSUER,
            "public_url": GATEWAY,
            "client_scopes": "bulk/import files/read files/write",
            **changes,
        }
    )


@asynccontextmanager
async def auth_server(store: MemoryStore | None = None, **changes: Any) -> AsyncIterator[AuthServer]:
    """Run the server; the arguments change its settings."""
    store, clock, web = store or MemoryStore(), Clock(), Web()
    service = assemble(
        settings(**changes),
        store,
        store,
        now=clock,
        monotonic=clock,
        fetch=web.fetch,
        passwords=cheap_passwords(),
        away=(ConnectionError,),
    )
    await service.keyring.refresh()
    await put_operator(store, *OPERATOR, name="operator", now=clock())
    async with TestClient(QuietTestServer(service.app)) as http:
        yield AuthServer(http, service, store, clock, web)


class KeyClient:
    """A client that authenticates with a key of its own."""

    def __init__(self, algorithm: str = "ES384", kid: str = "k1") -> None:
        self.algorithm = algorithm
        if algorithm.startswith("ES"):
            self.key: ECKey | RSAKey = ECKey.generate_key("P-384", {"kid": kid})
        else:
            self.key = RSAKey.generate_key(2048, {"kid": kid})
        self.id = ""

    @property
    def public(self) -> dict[str, Any]:
        return dict(self.key.as_dict(private=False))

    async def sign_up(self, server: AuthServer, **metadata: Any) -> None:
        if "jwks_uri" not in metadata:
            metadata["jwks"] = {"keys": [self.public]}
        registered = await server.sign_up(token_endpoint_auth_method="private_key_jwt", **metadata)
        self.id = registered["client_id"]

    def assertion(
        self,
        now: float,
        *,
        header: dict[str, Any] | None = None,
        key: Any = None,
        alg: str = "",
        **claims: Any,
    ) -> str:
        body = {
            "iss": self.id,
            "sub": self.id,
            "aud": TOKEN_URL,
            "exp": int(now) + 240,
            "jti": uuid4().hex,
            **claims,
        }
        head = {"alg": alg or self.algorithm, "typ": "JWT", "kid": self.key.kid, **(header or {})}
        return jws.serialize_compact(
            {name: value for name, value in head.items() if value is not None},
            json.dumps({name: value for name, value in body.items() if value is not None}),
            key or self.key,
            algorithms=[alg or self.algorithm],
        )

    @staticmethod
    def form(assertion: str, **more: str) -> dict[str, str]:
        return {
            "grant_type": "client_credentials",
            "scope": "bulk/import",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
            **more,
        }
