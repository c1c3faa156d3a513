"""Reading from registered FHIR servers: resources whole, attachments as streams.

Every way in which a source can fail is a `SourceFailure` with an item's error code and the word whether
asking again may help (`sluice_fhir.outcomes` has the table). No address, header or body of it is in there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from sluice_contracts.errors import ItemError
from sluice_contracts.wire import UNREADABLE
from sluice_fhir import searchset
from sluice_fhir.attachment import Attachment
from sluice_fhir.json_depth import is_deeper
from sluice_fhir.outcomes import Asked, issue_failure
from sluice_fhir.references import InvalidReferenceError, Reference, is_id, parse_reference
from sluice_fhir.source_calls import SourceCalls
from sluice_fhir.source_tokens import SourceTokens
from sluice_fhir.sources import Source
from sluice_fhir.throttle import Throttle, throttle_alone
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import UrlRefusedError
from sluice_security.http import GuardedClient, GuardedResponse
from sluice_security.http_budget import Hold
from sluice_security.http_limits import MIB

__all__ = ["Attachment", "FetchedResource", "FhirClient", "FhirLimits", "SourceFailure"]

_OK = 200
_LONGEST_ETAG = 256
_ACCEPT = {"Accept": "application/fhir+json, application/json;q=0.9"}


@dataclass(frozen=True, slots=True)
class FhirLimits:
    """Limits: bytes in a `document` and in an `attachment`, levels of nesting in a document."""

    document: int = 16 * MIB
    attachment: int = 10_000_000_000
    depth: int = 64


class _Meta(Struct):
    versionId: str | None = None  # noqa: N815 - FHIR's name


class _Envelope(Struct):
    """As much of a resource as tells whether it is the one that was asked for."""

    resourceType: str  # noqa: N815 - FHIR's name
    id: str | None = None
    meta: _Meta | None = None
    issue: Any = None


@dataclass(frozen=True, slots=True)
class FetchedResource:
    """A resource as its source gave it.

    Parameters
    ----------
    body
        Its JSON, byte for byte (decompressed).
    type, id
        What the body says it is; `id` is None for a search result without one.
    etag
        The answer's ETag, as it stands; None if it has none of a sensible length and spelling.
    version
        The resource's `meta.versionId`, else the version in a weak ETag (R4 section 3.1.0.2), if it is an id.
    """

    body: bytes
    type: str
    id: str | None
    etag: str | None
    version: str | None


class FhirClient:
    """Reads from sources, within each one's limits and with its credentials. One per process.

    Parameters
    ----------
    http
        The guarded way out, open.
    limits
        Of resources.
    clock
        Unix seconds.
    throttle
        Makes the throttle of a source that is met for the first time.
    """

    def __init__(
        self,
        http: GuardedClient,
        *,
        limits: FhirLimits | None = None,
        tokens: SourceTokens | None = None,
        clock: Callable[[], float] = time.time,
        throttle: Callable[[Source], Throttle] = throttle_alone,
    ) -> None:
        self._limits = limits or FhirLimits()
        self._calls = SourceCalls(http, tokens or SourceTokens(http), clock=clock, throttle=throttle)
        self._decoder = msgspec.json.Decoder(_Envelope)

    async def get_resource(
        self,
        source: Source,
        reference: str | Reference,
        *,
        expected: str | None = None,
        hold: Hold | None = None,
    ) -> FetchedResource:
        """Read one resource.

        Parameters
        ----------
        reference
            Relative to the source, or absolute and on it; a version is honoured.
        expected
            The type it must be of; the reference's own if None.
        hold
            The body's share of a memory budget.

        Raises
        ------
        SourceFailure
            It could not be had, or the answer is not that resource.
        """
        if isinstance(reference, str):
            try:
                reference = parse_reference(reference, expected)
            except InvalidReferenceError:
                raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED) from None
        found = await self.get_json(
            source, reference.url(source.base_url), expected=reference.type, hold=hold
        )
        if found.id is not None and found.id != reference.id:
            raise SourceFailure(ItemError.WRONG_RESOURCE, _OK)
        if reference.version is not None and found.version not in (None, reference.version):
            raise SourceFailure(ItemError.WRONG_RESOURCE, _OK)
        return found

    async def search(
        self, source: Source, resource_type: str, parameters: Sequence[tuple[str, str]]
    ) -> FetchedResource:
        """Search for resources of a type and give the first page, a Bundle.

        Raises
        ------
        SourceFailure
            As `get_resource`.
        """
        query = urlencode(parameters)
        return await self.get_json(source, f"{source.base_url}/{resource_type}?{query}", expected="Bundle")

    async def find(
        self, source: Source, kind: str, ids: Collection[str], *, limit: int, hold: Hold | None = None
    ) -> Mapping[str, FetchedResource]:
        """Read resources of a type by one search, and give those it gave as a read would have, by id.

        They have no ETag, as a searchset has none of theirs. What is missing may be there all the same.

        Parameters
        ----------
        ids
            Some; each is one (`is_id`).
        limit
            Bytes that the answer may have; one resource has its own limit beside it.
        hold
            The answer's share of a memory budget.

        Raises
        ------
        SourceFailure
            The search could not be had, or is no Bundle.
        """
        url = f"{source.base_url}/{kind}?_id={','.join(ids)}&_count={len(ids)}"
        answer = await self._get(source, url, "Bundle", limit, hold, len(ids))
        return {
            name: FetchedResource(body, kind, name, None, version)
            for name, (body, version) in searchset.matches(answer.body, kind, ids).items()
            if len(body) <= self._limits.document and is_id(version)
        }

    async def get_json(
        self, source: Source, url: str, *, expected: str, hold: Hold | None = None
    ) -> FetchedResource:
        """Read the resource at an absolute URL on the source, such as a Bundle's next page.

        Raises
        ------
        SourceFailure
            As `get_resource`.
        """
        return await self._get(source, url, expected, self._limits.document, hold)

    async def _get(
        self, source: Source, url: str, expected: str, limit: int, hold: Hold | None, several: int = 1
    ) -> FetchedResource:
        async with self._calls.call(source, url, _ACCEPT, Asked.DOCUMENT, several) as response:
            if response.content_type in ("text/html", "application/xhtml+xml"):
                raise SourceFailure(ItemError.NOT_JSON, response.status)
            body = await response.read(limit, ItemError.DOCUMENT_TOO_LARGE, hold)
            return self._read(body, response, expected)

    def open_attachment(self, source: Source, url: str, *, accept: str = "*/*") -> Attachment:
        """Prepare to stream an attachment; entering it sends the request.

        Parameters
        ----------
        url
            As the document spells it: absolute, or relative to the source.
        accept
            The media type to ask for.

        Raises
        ------
        SourceFailure
            `SOURCE_ADDRESS_REFUSED`: it is not a URL. See `Attachment` for the rest.
        """
        try:
            absolute = source.resolve(url)
        except UrlRefusedError:
            raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED) from None
        return Attachment(
            self._calls, source, absolute, accept=accept or "*/*", limit=self._limits.attachment
        )

    def _read(self, body: bytes, response: GuardedResponse, expected: str) -> FetchedResource:
        if is_deeper(body, self._limits.depth):
            raise SourceFailure(ItemError.NOT_JSON, response.status)
        try:
            if not body.isascii():
                # The decoder does not look into what it skips; whoever reads on must find text there.
                body.decode()
            envelope = self._decoder.decode(body)
        except UNREADABLE:
            raise SourceFailure(ItemError.NOT_JSON, response.status) from None
        if envelope.resourceType == "OperationOutcome" != expected:
            raise issue_failure(_issue_codes(envelope.issue), response.status, Asked.DOCUMENT)
        if envelope.resourceType != expected:
            raise SourceFailure(ItemError.WRONG_RESOURCE, response.status)
        etag = response.headers.get("ETag")
        if etag is not None and not (len(etag) <= _LONGEST_ETAG and etag.isascii() and etag.isprintable()):
            etag = None
        version = envelope.meta.versionId if envelope.meta is not None else None
        version = version or _etag_version(etag)
        if version is not None and not is_id(version):
            version = None
        return FetchedResource(body, envelope.resourceType, envelope.id, etag, version)


def _issue_codes(issues: Any) -> list[str]:
    if not isinstance(issues, list):
        return []
    codes = [issue.get("code") for issue in issues if isinstance(issue, dict)]
    return [code for code in codes if isinstance(code, str)]


def _etag_version(etag: str | None) -> str | None:
    if etag is None or not (etag.startswith('W/"') and etag.endswith('"')):
        return None
    return etag[3:-1] or None
