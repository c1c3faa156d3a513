"""One call to a source: its turn, its credentials, its answer judged by the table of statuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from types import TracebackType

from yarl import URL

from sluice_contracts.errors import ItemError
from sluice_fhir import metrics
from sluice_fhir.outcomes import Asked, retry_after, status_failure
from sluice_fhir.source_tokens import SourceTokens
from sluice_fhir.sources import Source
from sluice_fhir.submitted import sent_along
from sluice_fhir.throttle import Throttle
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import Allowlist, Prefix, UrlRefusedError
from sluice_security.http import NONE, GuardedClient, GuardedResponse

_SUCCESSES = frozenset({200, 206})
_UNAUTHORIZED = 401


class Channel:
    """What one process knows about calling one source.

    `documents` allows what is below its base URL, `attachments` the registered attachment places too.

    Raises
    ------
    SourceFailure
        `SOURCE_ADDRESS_REFUSED`: it was registered under other settings, such as a loopback source that is
        not allowed any more.
    """

    __slots__ = ("answered", "attachments", "documents", "origin", "seconds", "source", "throttle")

    def __init__(self, source: Source, throttle: Throttle, *, loopback: bool) -> None:
        try:
            base = Prefix.parse(source.base_url, loopback=loopback)
            more = [Prefix.parse(text, loopback=loopback) for text in source.attachment_prefixes]
        except UrlRefusedError:
            raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED) from None
        self.source = source
        self.throttle = throttle
        self.origin = (base.scheme, base.host, base.port)
        self.documents = Allowlist((base,))
        self.attachments = Allowlist((base, *more))
        # Looked up once: nearly every call ends here.
        self.answered = metrics.ANSWERS.labels(source.id, "ok")
        self.seconds = metrics.SECONDS.labels(source.id)


class SourceCalls:
    """Makes calls to sources.

    Parameters
    ----------
    http
        The guarded way out, open.
    tokens
        Where credentials come from.
    clock
        Unix seconds, for Retry-After dates.
    throttle
        Makes the throttle of a source that is met for the first time.
    """

    def __init__(
        self,
        http: GuardedClient,
        tokens: SourceTokens,
        *,
        clock: Callable[[], float],
        throttle: Callable[[Source], Throttle],
    ) -> None:
        self._http = http
        self._tokens = tokens
        self._clock = clock
        self._make_throttle = throttle
        self._channels: dict[str, Channel] = {}

    def channel(self, source: Source) -> Channel:
        """Give the channel to `source`; when the source was changed, what its throttle learned stays."""
        known = self._channels.get(source.id)
        if known is not None and (known.source is source or known.source == source):
            return known
        if known is None:
            throttle = self._make_throttle(source)
            metrics.watch(source.id, throttle)
        else:
            throttle = known.throttle
            throttle.configure(source.max_concurrency, source.max_requests_per_second)
        channel = Channel(source, throttle, loopback=self._http.loopback)
        self._channels[source.id] = channel
        return channel

    def call(
        self,
        source: Source,
        url: str,
        headers: Mapping[str, str],
        asked: Asked,
        several: int = 1,
        submitted: Mapping[str, str] = NONE,
    ) -> Call:
        """Prepare a GET, which asks for so many things; entering the call sends it.

        `submitted` are header fields of whoever submitted the address, which are sent to its origin alone.
        """
        return Call(self, self.channel(source), url, headers, asked, several, submitted)

    async def send(
        self,
        channel: Channel,
        url: str,
        headers: Mapping[str, str],
        asked: Asked,
        submitted: Mapping[str, str] = NONE,
    ) -> tuple[GuardedResponse, float | None]:
        """GET once, or twice if a token turns out to be stale; give the answer and its Retry-After."""
        allowed = channel.documents if asked is Asked.DOCUMENT else channel.attachments
        target = allowed.check(url)
        credentials = NONE
        if _origin(target) == channel.origin:
            credentials = await self._tokens.headers(channel.source)
        sent = sent_along(credentials, submitted)
        response = await self._http.follow(target, allowed, headers=headers, credentials=sent)
        if (
            response.status == _UNAUTHORIZED
            and credentials
            and self._tokens.refused(channel.source, credentials)
        ):
            await response.drain()
            response.close()
            credentials = await self._tokens.headers(channel.source)
            sent = sent_along(credentials, submitted)
            response = await self._http.follow(target, allowed, headers=headers, credentials=sent)
        after = None
        if response.status not in _SUCCESSES:
            after = retry_after(response.headers.get("Retry-After"), self._clock())
        return response, after


class Call:
    """One call under way: `async with calls.call(…) as response`, which is always a success.

    The source's turn is held until the body is read, so that its concurrency limit counts bodies too.
    """

    __slots__ = (
        "_asked",
        "_began",
        "_calls",
        "_channel",
        "_headers",
        "_response",
        "_several",
        "_submitted",
        "_url",
    )

    def __init__(
        self,
        calls: SourceCalls,
        channel: Channel,
        url: str,
        headers: Mapping[str, str],
        asked: Asked,
        several: int,
        submitted: Mapping[str, str],
    ) -> None:
        self._calls = calls
        self._channel = channel
        self._url = url
        self._headers = headers
        self._asked = asked
        self._several = several
        self._submitted = submitted
        self._began = 0.0
        self._response: GuardedResponse | None = None

    async def __aenter__(self) -> GuardedResponse:
        """Send the request.

        Raises
        ------
        SourceFailure
            The source is held back, could not be asked, or answered with anything but a success.
        """
        channel = self._channel
        throttle = channel.throttle
        status: int | None = None
        after: float | None = None
        try:
            self._began = await throttle.enter()
        except SourceFailure as failure:
            metrics.ANSWERS.labels(channel.source.id, failure.code).inc()
            raise
        begun = perf_counter()
        try:
            response, after = await self._calls.send(
                self._channel, self._url, self._headers, self._asked, self._submitted
            )
            status = response.status
            if status not in _SUCCESSES:
                # Its body may hold anything and is never shown; its connection is worth keeping.
                await response.drain()
                response.close()
                raise status_failure(status, self._asked, after)
        except BaseException as error:
            throttle.leave(self._began, status, after)
            outcome = error.code if isinstance(error, SourceFailure) else "abandoned"
            metrics.ANSWERS.labels(channel.source.id, outcome).inc()
            raise
        channel.answered.inc()
        seconds = perf_counter() - begun
        # What a source usually takes is about one thing, or it would seem slow to whoever asks for several.
        throttle.answered(seconds / self._several)
        channel.seconds.observe(seconds)
        self._response = response
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._response is not None:
            self._response.close()
            self._channel.throttle.leave(self._began, self._response.status)
            self._response = None


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port
