"""The doctor finds what is wrong with a deployment from outside, names it and says what to do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sluice_client import Credentials, SluiceClient
from sluice_client.doctor import Doctor, State, worst
from sluice_client.models import Finding
from sluice_client.transport import Patience
from support.certificates import certificate_in

NOW = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
QUICK = Patience(attempts=1, longest=0.01)
CREDENTIALS = Credentials(client_id="c", client_secret="s")


@dataclass
class Deployment:
    """A gateway with an authorization server, as well as it is made; `wrong` replaces answers by path."""

    url: str = ""
    skew: float = 0.0
    wrong: dict[str, tuple[int, Any]] = field(default_factory=dict)

    def answers(self) -> dict[str, tuple[int, Any]]:
        """Give what is answered where all is well."""
        discovery = {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/oauth/token",
            "jwks_uri": f"{self.url}/jwks",
        }
        finding = {"name": "postgres", "state": "ok", "text": "answers", "advice": ""}
        return {
            "/fhir/metadata": (200, {"software": {"name": "Sluice"}}),
            "/readyz": (200, {"status": "ok", "checks": {"kafka": "ok"}}),
            "/.well-known/oauth-authorization-server": (200, discovery),
            "/jwks": (200, {"keys": [{"kid": "1"}]}),
            "/oauth/token": (200, {"access_token": "t", "expires_in": 300}),
            "/v2/rate_limit": (200, {"rate": {"limit": 1000, "remaining": 900}}),
            "/v2/ops/health": (200, {"state": "ok", "findings": [finding]}),
        }

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a request."""
        status, body = {**self.answers(), **self.wrong}.get(request.path, (404, {}))
        date = format_datetime(datetime.fromtimestamp(NOW + self.skew, UTC), usegmt=True)
        return web.json_response(body, status=status, headers={"Date": date})


@asynccontextmanager
async def deployed(context: ssl.SSLContext | None = None, **settings: Any) -> AsyncIterator[Deployment]:
    made = Deployment(**settings)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    scheme = "http" if context is None else "https"
    made.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


async def looked(url: str, *, auth: bool = True, ca: Path | None = None, **client: Any) -> dict[str, Finding]:
    client.setdefault("credentials", CREDENTIALS)
    async with SluiceClient(url, auth_url=url if auth else None, patience=QUICK, ca=ca, **client) as open_:
        found = await Doctor(open_, url, url if auth else None, ca, lambda: NOW).look()
    return {each.name: each for each in found}


async def test_a_sound_deployment_is_found_sound_inside_and_out() -> None:
    async with deployed() as made:
        found = await looked(made.url)
    assert {each.state for each in found.values()} == {"ok"}
    assert list(found) == [
        "gateway",
        "TLS",
        "clock",
        "readiness",
        "authorization",
        "authorization clock",
        "keys",
        "token",
        "postgres",
    ]


WRONG: list[tuple[Callable[[Deployment], object], str, str, State]] = [
    (lambda it: it.wrong.update({"/fhir/metadata": (200, {})}), "gateway", "something else", State.FAILING),
    (lambda it: setattr(it, "skew", 45.0), "clock", "differ by 45 s", State.WARNING),
    (lambda it: setattr(it, "skew", -300.0), "clock", "differ by 300 s", State.FAILING),
    (lambda it: setattr(it, "skew", 90.0), "authorization clock", "differ by 90 s", State.FAILING),
    (
        lambda it: it.wrong.update({"/readyz": (404, {})}),
        "readiness",
        "does not let /readyz through",
        State.SKIPPED,
    ),
    (
        lambda it: it.wrong.update({"/readyz": (503, {"checks": {"kafka": "away", "postgres": "ok"}})}),
        "readiness",
        "cannot reach kafka",
        State.FAILING,
    ),
    (
        lambda it: it.wrong.update({"/.well-known/oauth-authorization-server": (502, {})}),
        "authorization",
        "cannot be found",
        State.FAILING,
    ),
    (
        lambda it: it.wrong.update(
            {
                "/.well-known/oauth-authorization-server": (
                    200,
                    {
                        "issuer": "http://else",
                        "token_endpoint": f"{it.url}/oauth/token",
                        "jwks_uri": f"{it.url}/jwks",
                    },
                )
            }
        ),
        "authorization",
        "calls itself http://else",
        State.FAILING,
    ),
    (lambda it: it.wrong.update({"/jwks": (200, {"keys": []})}), "keys", "cannot be read", State.FAILING),
    (
        lambda it: it.wrong.update({"/oauth/token": (401, {"error": "invalid_client"})}),
        "token",
        "",
        State.FAILING,
    ),
    (
        lambda it: it.wrong.update(
            {"/v2/rate_limit": (401, {"message": "The token is for another audience."})}
        ),
        "token",
        "another audience",
        State.FAILING,
    ),
    (
        lambda it: it.wrong.update({"/oauth/token": (503, {"error": "temporarily_unavailable"})}),
        "token",
        "none can be had",
        State.FAILING,
    ),
    (
        lambda it: it.wrong.update({"/v2/ops/health": (500, {"message": "It failed."})}),
        "inside",
        "could not look",
        State.FAILING,
    ),
    (
        lambda it: it.wrong.update({"/v2/ops/health": (403, {"code": "forbidden", "message": "No."})}),
        "inside",
        "needs the scope ops/health",
        State.SKIPPED,
    ),
]


@pytest.mark.parametrize(("spoil", "name", "text", "state"), WRONG)
async def test_each_fault_is_named_with_what_to_do(
    spoil: Callable[[Deployment], object], name: str, text: str, state: State
) -> None:
    async with deployed() as made:
        spoil(made)
        found = await looked(made.url)
    assert found[name].state == state
    assert text in found[name].text
    assert found[name].advice


async def test_nobody_at_the_address_is_told_and_nothing_more_is_tried() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = await looked(f"http://127.0.0.1:{probe.getsockname()[1]}")
    assert list(found) == ["gateway"]
    assert "cannot be reached" in found["gateway"].text


async def test_a_host_that_is_none_is_told() -> None:
    found = await looked("http://absent.invalid")
    assert "there is no host absent.invalid" in found["gateway"].text


async def test_a_certificate_that_is_not_trusted_is_told_and_one_that_is_is_shown(tmp_path: Path) -> None:
    made = certificate_in(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    async with deployed(context) as site:
        untrusted = await looked(site.url)
        trusted = await looked(site.url, ca=made.certificate)
        plain = await looked(site.url.replace("https", "http"))
    assert "--ca" in untrusted["gateway"].advice
    assert trusted["gateway"].state == State.OK
    assert "certificate" in trusted["TLS"].text
    assert plain["gateway"].state == State.FAILING


async def test_a_certificate_out_of_its_time_may_be_the_fault_of_this_machines_clock(tmp_path: Path) -> None:
    for begins, text in ((timedelta(days=2), "not valid yet"), (timedelta(days=-9), "has expired")):
        made = certificate_in(tmp_path, begins=begins)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(made.certificate, made.key)
        async with deployed(context) as site:
            found = await looked(site.url, ca=made.certificate)
        assert text in found["gateway"].text
        assert "clock" in found["gateway"].advice


async def test_without_credentials_the_rest_is_left_out() -> None:
    async with deployed() as made:
        found = await looked(made.url, credentials=None)
    assert found["token"].state == State.SKIPPED
    assert "inside" not in found
    assert worst(list(found.values())) is State.OK
