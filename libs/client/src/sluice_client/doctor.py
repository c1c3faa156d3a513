"""Looking a deployment over from outside: what a client's calls need, step by step, in plain words.

Each step is only taken if those before it succeeded, so that one cause is told once.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from sluice_client.api import trusting
from sluice_client.client import SluiceClient
from sluice_client.errors import AuthenticationError, SluiceError, sentences
from sluice_client.models import Finding
from sluice_contracts.wire import UNREADABLE
from sluice_contracts.words import counted

_SECONDS = 10.0
_SKEW_SECONDS = 30.0
_SKEW_FAILS = 60.0
_SOON_DAYS = 14
_DAY = 86_400.0
_HERE = frozenset({"127.0.0.1", "::1", "localhost"})
_METADATA = "/fhir/metadata"
# What a proxy answers for what it keeps to its own side.
_KEPT = frozenset({403, 404})
_DISCOVERY = "/.well-known/oauth-authorization-server"
_OPERATORS = "GET /v2/ops/health"


class State(StrEnum):
    """How a thing is; `skipped`: it was not looked at."""

    OK = "ok"
    WARNING = "warning"
    FAILING = "failing"
    SKIPPED = "skipped"


class _Stop(Exception):  # noqa: N818 - not an error, the end of a path
    """What comes after cannot succeed."""


@dataclass(slots=True)
class Doctor:
    """Looks one deployment over.

    Parameters
    ----------
    client
        Open, with or without credentials.
    url, auth_url
        Where the gateway and the authorization server are; without the latter the gateway says it.
    ca
        A file with certificates to trust beside the system's.
    now
        Unix seconds.
    """

    client: SluiceClient
    url: str
    auth_url: str | None = None
    ca: Path | None = None
    now: Callable[[], float] = time.time
    findings: list[Finding] = field(default_factory=list)

    async def look(self) -> list[Finding]:
        """Look at everything and give what was found, in order."""
        try:
            await self._gateway()
            await self._readiness()
        except _Stop:
            return self.findings
        try:
            await self._discovery()
            await self._token()
            await self._inside()
        except _Stop:
            pass
        return self.findings

    def _note(self, name: str, state: State, text: str, advice: str = "") -> None:
        self.findings.append(Finding(name=name, state=str(state), text=text, advice=advice))

    def _fail(self, name: str, text: str, advice: str) -> _Stop:
        self._note(name, State.FAILING, text, advice)
        return _Stop()

    async def _get(self, name: str, url: str) -> tuple[int, aiohttp.ClientResponse, bytes]:
        """GET without patience; what goes wrong on the way ends the path with its cause."""
        session = self.client.transport.session
        where = URL(url)
        try:
            async with asyncio.timeout(_SECONDS), session.get(where, allow_redirects=False) as answer:
                return answer.status, answer, await answer.read()
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._fail(name, *_certificate_trouble(error)) from None
        except aiohttp.ClientConnectorDNSError:
            raise self._fail(name, f"there is no host {where.host}", "Check the address.") from None
        except aiohttp.ClientSSLError:
            advice = "Check the address, and whether it takes TLS 1.2 or newer."
            raise self._fail(name, f"{where.host} does not speak TLS there", advice) from None
        except TimeoutError:
            advice = "See whether it runs, and whether a firewall or proxy is in between."
            raise self._fail(name, f"no answer from {where.origin()}", advice) from None
        except (aiohttp.ClientError, OSError) as error:
            text = f"{where.origin()} cannot be reached ({type(error).__name__})"
            raise self._fail(name, text, "See that it runs and that the address is right.") from None

    async def _certificate(self) -> None:
        where = URL(self.url)
        context = ssl.create_default_context() if self.ca is None else trusting(self.ca)
        try:
            async with asyncio.timeout(_SECONDS):
                _, writer = await asyncio.open_connection(where.host, where.port, ssl=context)
        except (OSError, TimeoutError) as error:
            raise self._fail(
                "TLS", f"a second connection failed ({type(error).__name__})", "Try again."
            ) from None
        shown: Any = writer.get_extra_info("peercert")
        writer.close()
        days = (ssl.cert_time_to_seconds(shown["notAfter"]) - self.now()) / _DAY
        if days < _SOON_DAYS:
            advice = "Renew it; services take a new one up at their next start."
            self._note("TLS", State.WARNING, f"the certificate ends in {counted(round(days), 'day')}", advice)
        else:
            self._note("TLS", State.OK, f"the certificate is good for {counted(round(days), 'more day')}")

    async def _gateway(self) -> None:
        status, answer, body = await self._get("gateway", self.url + _METADATA)
        if status != 200 or not _is_sluice(_json(body)):
            text = f"something else answers at {self.url} (status {status} for {_METADATA})"
            raise self._fail("gateway", text, "Check the address, and where a proxy there leads to.")
        self._note("gateway", State.OK, f"{self.url} answers")
        if URL(self.url).scheme == "http":
            here = URL(self.url).host in _HERE
            text = "the connection is not encrypted"
            advice = "Serve TLS: SLUICE_TLS_CERT and SLUICE_TLS_KEY, or a proxy."
            self._note("TLS", State.OK if here else State.WARNING, text, "" if here else advice)
        else:
            await self._certificate()
        self._clock("clock", "the gateway", answer)

    def _clock(self, name: str, whose: str, answer: aiohttp.ClientResponse) -> None:
        try:
            told = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
        except (TypeError, ValueError):
            self._note(name, State.SKIPPED, f"{whose} tells no time")
            return
        skew = abs(told - self.now())
        if skew <= _SKEW_SECONDS:
            self._note(name, State.OK, f"this machine's and {whose}'s agree")
            return
        state = State.FAILING if skew > _SKEW_FAILS else State.WARNING
        advice = "Set both by NTP; tokens and signed assertions are refused otherwise."
        self._note(name, state, f"this machine's and {whose}'s differ by {skew:.0f} s", advice)

    async def _readiness(self) -> None:
        status, _, body = await self._get("readiness", f"{self.url}/readyz")
        if status in _KEPT:
            advice = "An operator's profile has the gateway tell: sluice --profile operator doctor"
            self._note("readiness", State.SKIPPED, "a proxy does not let /readyz through", advice)
            return
        away = []
        if status != 200:
            checks = _json(body).get("checks", {})
            away = [name for name, said in checks.items() if said != "ok"] or ["something it needs"]
        for name in away:
            text = f"the gateway cannot reach {name}"
            self._note("readiness", State.FAILING, text, f"See that {name} runs, and the gateway's settings.")
        if not away:
            self._note("readiness", State.OK, "the gateway reaches all it needs")

    async def _discovery(self) -> None:
        issuer = (self.auth_url or self.url).rstrip("/")
        status, answer, body = await self._get("authorization", issuer + _DISCOVERY)
        if status == 404 and self.auth_url is None:
            status, answer, body = await self._get(
                "authorization", f"{self.url}/fhir/.well-known/smart-configuration"
            )
        told = _json(body)
        if status != 200 or "token_endpoint" not in told:
            text = f"the authorization server cannot be found (status {status})"
            raise self._fail("authorization", text, "Check SLUICE_ISSUER, and that the service auth runs.")
        if self.auth_url is not None and told.get("issuer") != issuer:
            text = f"the authorization server calls itself {told.get('issuer')}, not {issuer}"
            self._note(
                "authorization", State.FAILING, text, "Set SLUICE_ISSUER to its address as clients see it."
            )
        else:
            self._note("authorization", State.OK, f"tokens come from {told['token_endpoint']}")
        self._clock("authorization clock", "the authorization server", answer)
        if not isinstance(told.get("jwks_uri"), str):
            raise self._fail("keys", "no keys are named", "See that the service auth is ready.")
        status, _, body = await self._get("keys", told["jwks_uri"])
        keys = _json(body).get("keys")
        if status != 200 or not keys:
            raise self._fail(
                "keys", "the keys of tokens cannot be read", "See that the service auth is ready."
            )
        self._note("keys", State.OK, f"{counted(len(keys), 'key is', 'keys are')} published")

    async def _token(self) -> None:
        if not self.client.tokens.ready:
            self._note("token", State.SKIPPED, "there are no credentials", "Log in: sluice login URL")
            raise _Stop
        try:
            await self.client.token()
            limit = await self.client.rate_limit()
        except AuthenticationError as error:
            advice = error.advice or "Log in again: sluice login URL"
            raise self._fail("token", error.message, advice) from None
        except SluiceError as error:
            text = f"none can be had or used now: {sentences(error.message, error.advice)}"
            advice = "See what else is failing here; then the logs of auth and of the gateway."
            raise self._fail("token", text, advice) from None
        self._note("token", State.OK, f"the gateway takes it; {limit.remaining} bulk requests are left")

    async def _inside(self) -> None:
        try:
            found = await self.client.check_deployment()
        except AuthenticationError:
            advice = "Use an operator's profile: sluice --profile operator doctor"
            self._note("inside", State.SKIPPED, f"{_OPERATORS} needs the scope ops/health", advice)
        except SluiceError as error:
            text = f"the gateway could not look: {sentences(error.message, error.advice)}"
            self._note("inside", State.FAILING, text, "See the gateway's log.")
        else:
            self.findings += found.findings


def _certificate_trouble(error: aiohttp.ClientConnectorCertificateError) -> tuple[str, str]:
    cause = error.certificate_error
    reason = getattr(cause, "verify_message", "") or "it cannot be verified"
    if "expired" in reason:
        return "the certificate has expired", "Renew it, if this machine's clock is right."
    if "not yet valid" in reason:
        return "the certificate is not valid yet", "Set this machine's clock, if it is behind; or wait."
    if "self-signed" in reason or "self signed" in reason or "local issuer" in reason:
        text = "the certificate is not of an authority that is known here"
        return text, "Trust it with --ca FILE, or have it issued by one that is."
    if "match" in reason.lower():
        return "the certificate is another host's", "Check the address, or have it issued for this host."
    return f"the certificate is refused: {reason}", "Have it issued anew."


def _is_sluice(statement: dict[str, Any]) -> bool:
    software = statement.get("software")
    return isinstance(software, dict) and software.get("name") == "Sluice"


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def worst(findings: list[Finding]) -> State:
    """Give the worst of all."""
    states = {finding.state for finding in findings}
    return next((state for state in (State.FAILING, State.WARNING) if state in states), State.OK)
