"""A file of a source's export, from its address into the store: streamed, never held.

What is in it decides where it goes: resources are loaded, Bundles of deletions delete, outcomes that the
source adds are counted.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from sluice_contracts.errors import ItemError
from sluice_contracts.imports import PulledKind
from sluice_contracts.wire import UNREADABLE
from sluice_fhir.attachment import Attachment
from sluice_fhir.ndjson import Splitter
from sluice_fhir.ndjson_resource import LineProblem
from sluice_fhir.references import InvalidReferenceError, parse_reference
from sluice_fhir.source_auth import NoAuth
from sluice_fhir.source_calls import SourceCalls
from sluice_fhir.sources import Source
from sluice_fhir.submitted import Submitted, SubmittedSeal
from sluice_puller.decrypting import plain_file
from sluice_puller.store import Loaded
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import UrlRefusedError
from sluice_security.http_body import Inflater
from sluice_security.http_limits import HttpLimits
from sluice_storage.resources.loader import Outcome
from sluice_storage.resources.writer import Key

_GZIP = b"\x1f\x8b"
_ACCEPT = "application/fhir+ndjson, application/ndjson;q=0.9, */*;q=0.5"
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
_DELETED_AT_ONCE = 1000
_MOST_ISSUES = 10_000
_OUTCOME = "OperationOutcome"
# What a file's failures are called, where an attachment's have another name.
_CODES = {
    ItemError.ATTACHMENT_NOT_FOUND: ItemError.FILE_NOT_FOUND,
    ItemError.ATTACHMENT_TOO_LARGE: ItemError.FILE_TOO_LARGE,
    ItemError.ATTACHMENT_TRUNCATED: ItemError.FILE_TRUNCATED,
}


class FileLoader(Protocol):
    """Loads resources; `sluice_storage.resources.loader.Loader` does."""

    async def load(  # noqa: D102
        self, pieces: AsyncIterable[bytes], name: str, *, expect: str | None = None
    ) -> Outcome: ...
    async def delete(self, keys: list[Key]) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that is wanted: as the manifest lists it, and whether it is protected as the export is.

    What it holds is taken aside if the job is wanted whole. `base`, `claims` and `submitted` are as in the
    job's `ImportRequest`.
    """

    job: str
    item: int
    kind: PulledKind
    type: str | None
    url: str
    needs_token: bool
    aside: bool
    base: str | None = None
    claims: bool = False
    submitted: str | None = None

    def server(self, source: Source) -> str:
        """Give the base URL of the server whose resources the file, of this source, speaks of."""
        return self.base or source.base_url


MakeLoader = Callable[[Wanted, Source], FileLoader]
"""Makes the loader of a file from a source."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file's lines, and why some were not kept, by line."""

    counts: Loaded
    issues: dict[int, str]


class Contents:
    """Brings files' contents into the store.

    Parameters
    ----------
    calls
        What is known about calling each source.
    loader
        Makes loaders.
    limits
        Of outgoing HTTP, for contents that are compressed without being declared so.
    seal
        Opens what submitters handed over.
    file_bytes, line_bytes, encrypted_bytes
        How long a file, a line, and a file that is encrypted may be; the last is held whole.
    """

    def __init__(
        self,
        calls: SourceCalls,
        loader: MakeLoader,
        limits: HttpLimits,
        seal: SubmittedSeal,
        *,
        file_bytes: int,
        line_bytes: int,
        encrypted_bytes: int,
    ) -> None:
        self._calls = calls
        self._loader = loader
        self._limits = limits
        self._seal = seal
        self._encrypted_bytes = encrypted_bytes
        self._file_bytes = file_bytes
        self._line_bytes = line_bytes

    async def take(self, source: Source, wanted: Wanted) -> Taken:
        """Download a file and do what it says.

        When that is broken off, what was done stays; doing it again completes it.

        Raises
        ------
        SourceFailure
            It could not be had whole.
        """
        if not wanted.needs_token:
            # Credentials go nowhere they are not asked for (version 2.0.0, "requiresAccessToken").
            source = msgspec.structs.replace(source, auth=NoAuth())
        try:
            submitted = self._seal.open(wanted.submitted, wanted.job)
            asked = submitted.authorizing(source)
            async with aclosing(self._pieces(asked, wanted, submitted)) as pieces:
                return await self._into(self._loader(wanted, source), pieces, wanted, source)
        except SourceFailure as failure:
            raise failure.called(_CODES.get(failure.code, failure.code)) from None

    async def _into(
        self, loader: FileLoader, pieces: AsyncIterable[bytes], wanted: Wanted, source: Source
    ) -> Taken:
        if wanted.kind is PulledKind.DELETED:
            return await self._delete(loader, pieces, wanted.server(source))
        if wanted.kind is PulledKind.ERROR:
            return await self._count(pieces)
        found = await loader.load(pieces, "", expect=wanted.type)
        counts = Loaded(
            read=found.read,
            created=found.created,
            updated=found.updated,
            unchanged=found.unchanged,
            stale=found.stale,
            invalid=found.invalid,
            size=found.bytes,
            nameless=found.nameless,
        )
        return Taken(counts, {issue.line: issue.problem.value for issue in found.issues})

    async def _pieces(self, source: Source, wanted: Wanted, submitted: Submitted) -> AsyncGenerator[bytes]:
        try:
            absolute = source.resolve(wanted.url)
        except UrlRefusedError:
            raise SourceFailure(ItemError.SOURCE_ADDRESS_REFUSED) from None
        attachment = Attachment(
            self._calls,
            source,
            absolute,
            accept=_ACCEPT,
            limit=self._file_bytes if submitted.key is None else self._encrypted_bytes,
            submitted=submitted.headers,
        )
        async with attachment:
            if attachment.content_type in _PAGES:
                raise SourceFailure(ItemError.NOT_NDJSON, attachment.status)
            chunks: AsyncIterable[bytes] = attachment.chunks()
            if submitted.key is not None:
                chunks = plain_file(chunks, submitted.key, wanted.kind)
            async with aclosing(self._plain(chunks, attachment.status)) as plain:
                async for piece in plain:
                    yield piece

    async def _plain(self, chunks: AsyncIterable[bytes], status: int) -> AsyncGenerator[bytes]:
        """Unpack a file that is gzip by its content; servers keep `.ndjson.gz` and say octet-stream."""
        inflater: Inflater | None = None
        head: bytes | None = b""
        size = 0
        async for chunk in chunks:
            if head is not None:
                chunk = head + chunk
                if len(chunk) < len(_GZIP):
                    head = chunk
                    continue
                head = None
                if chunk.startswith(_GZIP):
                    inflater = Inflater("gzip", self._limits, status)
            if inflater is None:
                yield chunk
                continue
            for piece in inflater.feed(chunk):
                size += len(piece)
                if size > self._file_bytes:
                    raise SourceFailure(ItemError.FILE_TOO_LARGE, status)
                yield piece
        if head:
            yield head
        if inflater is not None:
            try:
                inflater.finish()
            except SourceFailure as failure:
                # All of it came, so it is the file that is cut short, and not the connection.
                raise failure.called(ItemError.FILE_TRUNCATED) from None

    async def _delete(self, loader: FileLoader, pieces: AsyncIterable[bytes], base: str) -> Taken:
        """Delete what Bundles say is deleted (version 2.0.0, "Response - Complete Status", `deleted`)."""
        read = size = deleted = 0
        issues: dict[int, str] = {}
        held: list[Key] = []
        invalid = 0
        async for number, text in self._lines(pieces):
            read += 1
            size += len(text or b"")
            found = None if text is None else deletions(text, base)
            if found is None:
                invalid += 1
                if len(issues) < _MOST_ISSUES:
                    problem = LineProblem.TOO_LONG if text is None else LineProblem.NOT_A_RESOURCE
                    issues[number] = problem.value
                continue
            held += found
            while len(held) >= _DELETED_AT_ONCE:
                deleted += await loader.delete(held[:_DELETED_AT_ONCE])
                held = held[_DELETED_AT_ONCE:]
        deleted += await loader.delete(held)
        return Taken(Loaded(read=read, invalid=invalid, deleted=deleted, size=size), issues)

    async def _count(self, pieces: AsyncIterable[bytes]) -> Taken:
        """Count what the source has to say; its words may be about patients, and are not kept."""
        read = size = invalid = 0
        issues: dict[int, str] = {}
        async for number, text in self._lines(pieces):
            read += 1
            size += len(text or b"")
            if text is None or not _is_outcome(text):
                invalid += 1
                if len(issues) < _MOST_ISSUES:
                    issues[number] = LineProblem.WRONG_TYPE.value
        return Taken(Loaded(read=read, invalid=invalid, size=size), issues)

    async def _lines(self, pieces: AsyncIterable[bytes]) -> AsyncGenerator[tuple[int, bytes | None]]:
        splitter = Splitter(self._line_bytes)
        async for piece in pieces:
            for line in splitter.feed(piece):
                yield line.number, line.text
        for line in splitter.end():
            yield line.number, line.text


def deletions(text: bytes, base: str) -> list[Key] | None:
    """Give what a line, a transaction Bundle, says is deleted at the server `base`.

    None if it is no such Bundle, says anything else, or names what is at another server: that one's resources
    are not this one's to delete.
    """
    base = base.rstrip("/")
    bundle = _decoded(text)
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        return None
    entries = bundle.get("entry", [])
    found: list[Key] = []
    for entry in entries if isinstance(entries, list) else (None,):
        request = entry.get("request") if isinstance(entry, dict) else None
        if not isinstance(request, dict) or request.get("method") != "DELETE":
            return None
        try:
            reference = parse_reference(str(request.get("url")))
        except InvalidReferenceError:
            return None
        if reference.base not in (None, base):
            return None
        found.append((reference.type, reference.id))
    return found


def _is_outcome(text: bytes) -> bool:
    outcome = _decoded(text)
    return isinstance(outcome, dict) and outcome.get("resourceType") == _OUTCOME


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except UNREADABLE:
        return None
