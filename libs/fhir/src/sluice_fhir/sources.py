"""Sources: the FHIR servers that operators registered, the only ones anything is read from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType
from yarl import URL

from sluice_fhir.source_auth import (
    BackendServicesAuth,
    ClientCredentialsAuth,
    InvalidKeyError,
    NoAuth,
    SourceAuth,
    UnreadableAuth,
    with_key,
)
from sluice_security.guard_urls import Prefix, UrlRefusedError, parse_url

_MOST_CONCURRENT = 1024
_LONGEST_NAME = 200
_MOST_PREFIXES = 32
_MOST_CLIENTS = 1000
_MOST_HEADERS = 32
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# What frames a request, says what is asked for, or on whose behalf it was passed on: ours to say.
_OURS = re.compile(
    r"(?i:host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|accept(-.*)?|content-.*"
    r"|range|if-.*|via|forwarded|user-agent|(proxy|x-forwarded|x-http-method|x-method)(-.*)?)"
)
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/(?:\*|[a-z0-9!#$&^_.+-]+)")


class SourceDraft(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator says about a source when registering it.

    Parameters
    ----------
    name
        For people.
    base_url
        The FHIR service's base URL.
    auth
        How to prove who we are.
    max_requests_per_second
        The most requests begun in a second, None for no limit.
    max_concurrency
        The most requests under way at once.
    scrape_schema
        The schema that makes metadata of its documents; None: the one that matches the server.
    attachment_prefixes
        Further places its attachments may be read from, such as a CDN. Its credentials are not sent there.
    content_types
        Media types an attachment may have (`application/pdf`, `image/*`); none: all.
    enabled
        Whether anything is read from it at all.
    clients
        The clients that may import from it, by their ids; none: every one that may import at all. To others
        it is not registered.
    type_filters
        Whether its $export understands `_typeFilter`, so that less is asked of it for a measure.
    request_headers
        Names of header fields that submitters may have sent along with requests for their manifests and
        files there; none: no such field.
    software, fhir_version
        What its CapabilityStatement says, if known.
    """

    name: str
    base_url: str
    auth: SourceAuth = msgspec.field(default_factory=NoAuth)
    max_requests_per_second: float | None = None
    max_concurrency: int = 32
    scrape_schema: str | None = None
    attachment_prefixes: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ()
    enabled: bool = True
    clients: tuple[str, ...] = ()
    type_filters: bool = False
    request_headers: tuple[str, ...] = ()
    software: str | None = None
    fhir_version: str | None = None


class SourceChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator changes of a source; what is not given stays. `base_url` never changes."""

    name: str | UnsetType = UNSET
    auth: SourceAuth | UnsetType = UNSET
    max_requests_per_second: float | UnsetType | None = UNSET
    max_concurrency: int | UnsetType = UNSET
    scrape_schema: str | UnsetType | None = UNSET
    attachment_prefixes: tuple[str, ...] | UnsetType = UNSET
    content_types: tuple[str, ...] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    clients: tuple[str, ...] | UnsetType = UNSET
    type_filters: bool | UnsetType = UNSET
    request_headers: tuple[str, ...] | UnsetType = UNSET
    software: str | UnsetType | None = UNSET
    fhir_version: str | UnsetType | None = UNSET


class Source(SourceDraft, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A registered source: what was drafted, normalised.

    `base_url` has no slash at its end. `revision` grows with every change.
    """

    id: str
    # Wider than what may be drafted; what can be called is never unreadable.
    auth: SourceAuth | UnreadableAuth = msgspec.field(default_factory=NoAuth)  # type: ignore[assignment]
    revision: int = 1

    def serves(self, client: str) -> bool:
        """Tell whether a client may import from it."""
        return not self.clients or client in self.clients

    def permits(self, content_type: str) -> bool:
        """Tell whether an attachment of this media type (parameters ignored) may be imported."""
        if not self.content_types:
            return True
        kind = content_type.partition(";")[0].strip().lower()
        family = kind.partition("/")[0] + "/*"
        return kind in self.content_types or family in self.content_types

    def resolve(self, url: str) -> str:
        """Make an attachment's URL absolute: relative ones are below the base URL (R4 section 2.24.0.3).

        Raises
        ------
        UrlRefusedError
            It is not a URL.
        """
        if url.startswith(("http://", "https://")):
            return url
        try:
            return str(URL(self.base_url + "/").join(URL(url)))
        except ValueError:
            raise UrlRefusedError("not a URL") from None


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with one field, in words for an operator."""

    field: str
    text: str


class InvalidSourceError(ValueError):
    """A source cannot be registered like this; `problems` lists everything that is wrong."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__(", ".join(f"{problem.field}: {problem.text}" for problem in problems))
        self.problems = problems


def checked_source(draft: SourceDraft, *, source_id: str, revision: int, loopback: bool) -> Source:
    """Make a source of what an operator said: checked, normalised, with a key of its own if it needs one.

    Parameters
    ----------
    loopback
        Whether http and this machine's addresses are allowed (development).

    Raises
    ------
    InvalidSourceError
        Something is wrong with it.
    """
    problems: list[FieldProblem] = []

    def place(field: str, text: str) -> str:
        try:
            return Prefix.parse(text, loopback=loopback).url.rstrip("/")
        except UrlRefusedError as error:
            problems.append(FieldProblem(field, str(error)))
            return text

    base_url = place("base_url", draft.base_url)
    if len(draft.attachment_prefixes) > _MOST_PREFIXES:
        problems.append(FieldProblem("attachment_prefixes", f"more than {_MOST_PREFIXES}"))
    prefixes = tuple(
        place(f"attachment_prefixes[{index}]", text)
        for index, text in enumerate(draft.attachment_prefixes[:_MOST_PREFIXES])
    )
    auth = _checked_auth(draft.auth, place, problems)
    types = tuple(text.strip().lower() for text in draft.content_types)
    problems += _plain_problems(draft, types)
    if problems:
        raise InvalidSourceError(problems)
    return Source(
        id=source_id,
        name=draft.name.strip(),
        base_url=base_url,
        auth=auth,
        max_requests_per_second=draft.max_requests_per_second,
        max_concurrency=draft.max_concurrency,
        scrape_schema=draft.scrape_schema,
        attachment_prefixes=prefixes,
        content_types=types,
        enabled=draft.enabled,
        clients=draft.clients,
        type_filters=draft.type_filters,
        request_headers=tuple(sorted({name.lower() for name in draft.request_headers})),
        software=draft.software,
        fhir_version=draft.fhir_version,
        revision=revision,
    )


def _plain_problems(draft: SourceDraft, types: tuple[str, ...]) -> list[FieldProblem]:
    problems = []
    if not 0 < len(draft.name.strip()) <= _LONGEST_NAME:
        problems.append(FieldProblem("name", "1 to 200 characters"))
    rate = draft.max_requests_per_second
    if rate is not None and not 0 < rate < float("inf"):
        problems.append(FieldProblem("max_requests_per_second", "more than 0"))
    if not 1 <= draft.max_concurrency <= _MOST_CONCURRENT:
        problems.append(FieldProblem("max_concurrency", f"1 to {_MOST_CONCURRENT}"))
    if len(draft.clients) > _MOST_CLIENTS:
        problems.append(FieldProblem("clients", f"more than {_MOST_CLIENTS}"))
    problems += [
        FieldProblem(f"clients[{index}]", "1 to 200 characters")
        for index, client in enumerate(draft.clients[:_MOST_CLIENTS])
        if not 0 < len(client) <= _LONGEST_NAME
    ]
    if len(draft.request_headers) > _MOST_HEADERS:
        problems.append(FieldProblem("request_headers", f"more than {_MOST_HEADERS}"))
    problems += [
        FieldProblem(f"request_headers[{index}]", "not the name of a header field that may be given")
        for index, name in enumerate(draft.request_headers[:_MOST_HEADERS])
        if not _HEADER.fullmatch(name) or _OURS.fullmatch(name)
    ]
    problems += [
        FieldProblem(f"content_types[{index}]", "not a media type")
        for index, text in enumerate(types)
        if not _MEDIA_TYPE.fullmatch(text)
    ]
    return problems


def _checked_auth(
    auth: SourceAuth, place: Callable[[str, str], str], problems: list[FieldProblem]
) -> SourceAuth:
    if isinstance(auth, (ClientCredentialsAuth, BackendServicesAuth)):
        place("auth.token_url", auth.token_url)
    if isinstance(auth, BackendServicesAuth):
        try:
            return with_key(auth)
        except InvalidKeyError as error:
            problems.append(FieldProblem("auth.key", str(error)))
    return auth


class SourceLookup(Protocol):
    """Where services look sources up; `sluice_fhir.source_store.SourceRegistry` is the one on Postgres."""

    async def get(self, source_id: str) -> Source | None:
        """Give the enabled source of this id, None if there is none."""

    async def match(self, url: str) -> Source | None:
        """Give the enabled source whose base URL is the longest that covers `url`, None if none does."""


def best_match(sources: list[tuple[Prefix, Source]], url: str) -> Source | None:
    """Choose the source with the longest base URL that covers `url`; a malformed URL matches none."""
    try:
        parsed = parse_url(url)
    except UrlRefusedError:
        return None
    covering = [(len(prefix.path), source) for prefix, source in sources if prefix.covers(parsed)]
    return max(covering, key=lambda found: found[0])[1] if covering else None
