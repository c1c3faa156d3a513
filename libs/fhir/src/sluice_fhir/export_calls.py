"""Asking a source for a bulk export: kick off, poll, delete (Bulk Data Access 2.0.0 and 3.0.0).

What a source answers is judged here, once. A `SourceFailure` that may pass says so; whoever polls decides how
often it may. No address, header or body of the source's is in one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from yarl import URL

from sluice_contracts.errors import ItemError
from sluice_contracts.wire import UNREADABLE
from sluice_fhir.outcomes import ISSUES, Asked, retry_after, status_failure
from sluice_fhir.source_calls import Channel, SourceCalls
from sluice_fhir.source_tokens import SourceTokens
from sluice_fhir.sources import Source
from sluice_fhir.submitted import sent_along
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import UrlRefusedError, parse_url
from sluice_security.http import NONE, GuardedClient, GuardedResponse
from sluice_security.http_limits import MIB

_KICK_OFF: Mapping[str, str] = {"Accept": "application/fhir+json", "Prefer": "respond-async"}
_POLL: Mapping[str, str] = {"Accept": "application/json, application/fhir+json;q=0.9"}
_OK = 200
_ACCEPTED = 202
_UNAUTHORIZED = 401
_SERVER_ERROR = 500
_NOT_THERE = frozenset({404, 410})
_ERROR_BYTES = 64 * 1024
# X-Progress is free text, at most 100 characters long; only a number is taken from it.
_PER_CENT = re.compile(r"(?<!\d)(\d{1,3})(?:\.\d+)?\s*%")
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Accepted:
    """The source exports: its status is at `url`, to be asked for after `after` seconds if it said so."""

    url: str
    after: float | None


@dataclass(frozen=True, slots=True)
class Running:
    """The source is not done: ask again after `after` seconds, if it said so; `progress` is per cent."""

    after: float | None
    progress: int | None


@dataclass(frozen=True, slots=True)
class Complete:
    """The source is done: `body` is the manifest as it came, from `url`."""

    url: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    url: URL
    body: bytes


class ExportCalls:
    """Makes the calls of bulk exports, within each source's limits and with its credentials.

    Parameters
    ----------
    http
        The guarded way out, open.
    tokens, calls
        Where credentials come from; what is known about calling each source.
    clock
        Unix seconds, for Retry-After dates.
    manifest_bytes
        How long a manifest, or a page of one, may be.
    """

    def __init__(
        self,
        http: GuardedClient,
        tokens: SourceTokens,
        calls: SourceCalls,
        *,
        clock: Callable[[], float],
        manifest_bytes: int = 64 * MIB,
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._calls = calls
        self._clock = clock
        self._manifest_bytes = manifest_bytes

    async def kick_off(self, source: Source, url: str) -> Accepted:
        """Begin an export.

        Raises
        ------
        SourceFailure
            `EXPORT_NOT_STARTED`: the answer is not 202, or does not say where to poll; or as for a document.
        """
        answer = await self._exchange(source, "GET", url, _KICK_OFF)
        if answer.status != _ACCEPTED:
            raise self._failure(answer, ItemError.EXPORT_NOT_STARTED)
        place = _joined(answer.url, answer.headers.get("content-location", ""))
        if place is None:
            raise SourceFailure(ItemError.EXPORT_NOT_STARTED, answer.status)
        return Accepted(place, self._after(answer))

    async def poll(self, source: Source, url: str, submitted: Mapping[str, str] = NONE) -> Running | Complete:
        """Ask how an export stands, or for a manifest that is simply there.

        `submitted` are header fields of whoever submitted the manifest, which are sent to its origin alone.

        Raises
        ------
        SourceFailure
            `EXPORT_GONE`, `EXPORT_FAILED`; or as for a document.
        """
        answer = await self._exchange(source, "GET", url, _POLL, submitted)
        if answer.status == _ACCEPTED:
            return Running(self._after(answer), _per_cent(answer.headers.get("x-progress", "")))
        if answer.status == _OK:
            return Complete(str(answer.url), answer.body)
        raise self._failure(answer, ItemError.EXPORT_GONE)

    async def release(self, source: Source, url: str) -> None:
        """Delete an export at its source; one that is not there any more is deleted.

        Raises
        ------
        SourceFailure
            The source did not do it.
        """
        answer = await self._exchange(source, "DELETE", url, NONE)
        if answer.status >= 300 and answer.status not in _NOT_THERE:
            raise self._failure(answer, ItemError.EXPORT_GONE)

    async def _exchange(
        self,
        source: Source,
        method: str,
        url: str,
        headers: Mapping[str, str],
        submitted: Mapping[str, str] = NONE,
    ) -> _Answer:
        channel = self._calls.channel(source)
        began = await channel.throttle.enter()
        status: int | None = None
        after: float | None = None
        try:
            async with await self._send(channel, method, url, headers, submitted) as response:
                status = response.status
                after = retry_after(response.headers.get("Retry-After"), self._clock())
                body = await self._body(response)
                return _Answer(
                    status,
                    {name.lower(): text for name, text in response.headers.items()},
                    response.url,
                    body,
                )
        finally:
            # A Retry-After beside a 202 is about this export, not about the source.
            channel.throttle.leave(began, status, None if status == _ACCEPTED else after)

    async def _send(
        self,
        channel: Channel,
        method: str,
        url: str,
        headers: Mapping[str, str],
        submitted: Mapping[str, str],
    ) -> GuardedResponse:
        target = channel.attachments.check(url)
        same = (target.scheme, target.raw_host, target.port) == channel.origin
        response, credentials = await self._once(
            channel, method, target, headers, submitted, with_credentials=same
        )
        if (
            response.status == _UNAUTHORIZED
            and credentials
            and self._tokens.refused(channel.source, credentials)
        ):
            await response.drain()
            response.close()
            response, _ = await self._once(channel, method, target, headers, submitted, with_credentials=same)
        return response

    async def _once(
        self,
        channel: Channel,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        submitted: Mapping[str, str],
        *,
        with_credentials: bool,
    ) -> tuple[GuardedResponse, Mapping[str, str]]:
        credentials = await self._tokens.headers(channel.source) if with_credentials else NONE
        if method == "DELETE":
            return await self._http.delete(url, channel.attachments, credentials=credentials), credentials
        sent = sent_along(credentials, submitted)
        response = await self._http.get(url, channel.attachments, headers=headers, credentials=sent)
        return response, credentials

    async def _body(self, response: GuardedResponse) -> bytes:
        if response.status == _OK:
            return await response.read(self._manifest_bytes, ItemError.BAD_MANIFEST)
        if response.status < _SERVER_ERROR:
            await response.drain()
            return b""
        try:
            return await response.read(_ERROR_BYTES, ItemError.NOT_JSON)
        except SourceFailure:
            return b""  # the status says enough

    def _after(self, answer: _Answer) -> float | None:
        return retry_after(answer.headers.get("retry-after"), self._clock())

    def _failure(self, answer: _Answer, gone: ItemError) -> SourceFailure:
        """Say what an answer means that is not the wanted one; `gone` is what 404 and 200 mean here."""
        status = answer.status
        if status < 300 or status in _NOT_THERE:
            return SourceFailure(gone, status)
        failure = status_failure(status, Asked.DOCUMENT, self._after(answer))
        if status >= _SERVER_ERROR and (codes := _codes(answer.body)) is not None:
            # Version 2.0.0, "Response - Error Status": an export that failed, unless the issue is transient.
            passing = any(code in ISSUES and ISSUES[code].retry and code != "exception" for code in codes)
            if not passing:
                wanted = ItemError.EXPORT_FAILED if gone is ItemError.EXPORT_GONE else gone
                return SourceFailure(wanted, status)
        return failure


def _joined(base: URL, location: str) -> str | None:
    """Give an address that may be relative, in one spelling; None if it is none."""
    if not location.strip():
        return None
    try:
        return str(parse_url(str(base.join(URL(location.strip())))))
    except (UrlRefusedError, ValueError):
        return None


def _per_cent(text: str) -> int | None:
    found = _PER_CENT.search(text[:200])
    return min(int(found[1]), _HUNDRED) if found else None


def _codes(body: bytes) -> list[str] | None:
    """Give the issue types of an OperationOutcome; None if it is none."""
    try:
        outcome = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    if not isinstance(outcome, dict) or outcome.get("resourceType") != "OperationOutcome":
        return None
    issues = outcome.get("issue")
    found = (
        [issue.get("code") for issue in issues if isinstance(issue, dict)] if isinstance(issues, list) else []
    )
    return [code for code in found if isinstance(code, str)]
