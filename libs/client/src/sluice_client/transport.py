"""HTTP with patience: retries what may pass, waits as long as the service asks, and gives typed errors."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from sluice_client.errors import ApiError, UnreachableError, api_error
from sluice_contracts.wire import UNREADABLE

# The service answers these before it does anything; so does a proxy in front of it.
_NOTHING_DONE = frozenset({429, 503})
# After these the request may have been carried out.
_UNCLEAR = frozenset({500, 502, 504})
_LONGEST_NUMBER = 12


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on trying.

    Parameters
    ----------
    attempts
        The most times a request is sent.
    first, longest
        Seconds to wait after the first failure, and at most; they double in between, with jitter.
    longest_asked
        The most seconds to wait because the service says so (`Retry-After`); longer is an error.
    """

    attempts: int = 6
    first: float = 0.25
    longest: float = 10.0
    longest_asked: float = 120.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests of one session.

    Parameters
    ----------
    session
        Closed by whoever made it.
    patience
        How long to go on trying.
    sleep, random_share
        Waiting, and the jitter (0 to 1); replaced in tests.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        patience: Patience,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        self.session = session
        self.patience = patience
        self._sleep = sleep
        self._share = random_share

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Any = None,
        data: Any = None,
        repeatable: bool | None = None,
    ) -> Answer:
        """Send a request, as often as that may help.

        Parameters
        ----------
        data
            The body; a function makes a new one for each attempt.
        repeatable
            Whether sending it twice does no harm; by default that of the method (RFC 9110 section 9.2.2).
            Other requests are repeated only if the service says that it did nothing.

        Raises
        ------
        ApiError
            The service refused it.
        UnreachableError
            It could not be reached, or broke off.
        """
        if repeatable is None:
            repeatable = method in ("GET", "HEAD", "PUT", "DELETE")
        for attempt in range(1, self.patience.attempts + 1):
            last = attempt == self.patience.attempts
            try:
                async with self.session.request(
                    method,
                    url,
                    headers=headers,
                    params=params,
                    data=data() if callable(data) else data,
                    allow_redirects=False,
                ) as response:
                    body = await response.read()
                    status, fields = response.status, response.headers
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                sent = not isinstance(error, aiohttp.ClientConnectorError)
                if last or (sent and not repeatable):
                    raise unreachable(url, error) from error
                await self.pause(attempt)
                continue
            if status < 300:
                return Answer(status, fields, body)
            problem = refusal(status, fields, body)
            after = retry_after(fields)
            may_pass = status in _NOTHING_DONE or (repeatable and status in _UNCLEAR)
            if last or not may_pass or (after or 0) > self.patience.longest_asked:
                raise problem
            await self.pause(attempt, after)
        raise AssertionError  # pragma: no cover - the loop ends by returning or raising

    async def pause(self, attempt: int, after: float | None = None) -> None:
        """Wait before the next attempt: as long as asked, else longer each time."""
        if after is None:
            after = min(self.patience.longest, self.patience.first * 2 ** (attempt - 1))
            after *= 0.5 + self._share() / 2
        await self._sleep(after)


def unreachable(url: str, error: BaseException) -> UnreachableError:
    """Say that a server cannot be reached, without the query of its address."""
    where = url.partition("?")[0]
    kind = "did not answer in time" if isinstance(error, TimeoutError) else "cannot be reached"
    return UnreachableError(f"{where} {kind}.", "Check the address and that the service runs.")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Give the seconds that `Retry-After` asks for (RFC 9110 section 10.2.3), None without a sound one."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text) if len(text) <= _LONGEST_NUMBER else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


class _Details(msgspec.Struct):
    text: str = ""


class _Issue(msgspec.Struct):
    code: str = ""
    diagnostics: str = ""
    details: _Details = msgspec.field(default_factory=_Details)


class _Problem(msgspec.Struct):
    """An error body: the API's, OAuth's (RFC 6749 section 5.2) or an OperationOutcome (R4)."""

    code: str | int = ""
    message: str = ""
    more_info: str = ""
    error: str = ""
    error_description: str = ""
    issue: list[_Issue] = msgspec.field(default_factory=list)

    @property
    def issues(self) -> str:
        """What the issues say."""
        texts = (each.details.text or each.diagnostics for each in self.issue)
        return "; ".join(text for text in texts if text)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Make an error of an answer that is none of success."""
    try:
        said = msgspec.json.decode(body, type=_Problem)
    except UNREADABLE:
        said = _Problem()
    issued = said.issue[0].code if said.issue else ""
    code = str(said.code) or said.error or issued or f"http_{status}"
    message = said.message or said.error_description or said.issues or f"The service answered {status}."
    # An OperationOutcome's words say what to do, too.
    advice = said.more_info or ("" if said.issues else None)
    error = api_error(status, code, message, advice, after=retry_after(headers))
    error.location = headers.get("Content-Location")
    return error
