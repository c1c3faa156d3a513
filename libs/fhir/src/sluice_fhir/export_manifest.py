"""A source's manifest of an export, read: Bulk Data Access 1.0 to 3.0.0, and the ballot after it.

Sources differ in what they leave out, so little is demanded: a JSON object with a list `output` whose items
have an address. Addresses may be relative to the manifest's; whether they may be asked for at all is decided
when they are. A manifest may go on at a `next` link.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from yarl import URL

from sluice_contracts.errors import ItemError
from sluice_contracts.imports import PulledKind
from sluice_contracts.wire import UNREADABLE
from sluice_fhir.json_depth import is_deeper
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import UrlRefusedError, parse_url

# What the ballot of 4.0.0 calls a list.
_ALSO = {PulledKind.ERROR: ("outcome",)}
_OK = 200
_LONGEST_TYPE = 64
_MOST_LINES = 2**62


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that a manifest lists.

    Parameters
    ----------
    kind
        The list it is in.
    url
        Absolute.
    type
        The type of its resources, None if it is not said.
    count
        How many lines it has, None if it is not said.
    """

    kind: PulledKind
    url: str
    type: str | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, or a page of one.

    Parameters
    ----------
    transaction_time
        The instant whose state the files hold; None if it is not said, or no instant.
    requires_token
        Whether the files are protected as the export is; taken for granted if it is not said.
    files
        In the order of the lists. An address is in it once.
    following
        The next page's address.
    """

    transaction_time: datetime | None
    requires_token: bool
    files: tuple[ListedFile, ...]
    following: str | None = None


def read_manifest(body: bytes, url: str, depth: int = 64) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    url
        Where it came from.
    depth
        How deep it may nest.

    Raises
    ------
    SourceFailure
        `BAD_MANIFEST`: it is none.
    """
    if is_deeper(body, depth):
        raise _bad()
    try:
        fields: Any = msgspec.json.decode(body)
    except UNREADABLE:
        raise _bad() from None
    if not isinstance(fields, dict) or not isinstance(fields.get("output"), list):
        raise _bad()
    base = URL(url)
    found: dict[str, ListedFile] = {}
    organized = isinstance(fields.get("outputOrganizedBy"), str)
    for kind in PulledKind:
        for item in _listed(fields, kind):
            file = _file(kind, item, base, organized=organized)
            found.setdefault(file.url, file)
    requires = fields.get("requiresAccessToken", True)
    return Manifest(
        transaction_time=_instant(fields.get("transactionTime")),
        requires_token=requires if isinstance(requires, bool) else True,
        files=tuple(found.values()),
        following=_following(fields, base),
    )


def _listed(fields: dict[str, Any], kind: PulledKind) -> list[Any]:
    found: list[Any] = []
    for name in (kind.value, *_ALSO.get(kind, ())):
        items = fields.get(name)
        if items is not None and not isinstance(items, list):
            raise _bad()
        found += items or []
    return found


def _file(kind: PulledKind, item: Any, base: URL, *, organized: bool) -> ListedFile:
    if not isinstance(item, dict):
        raise _bad()
    type_, count = item.get("type"), item.get("count")
    if not isinstance(type_, str) or not 0 < len(type_) <= _LONGEST_TYPE or not type_.isalpha():
        type_ = None
    # A block of a patient's data has resources of all types, whatever its item says.
    if organized and kind is PulledKind.OUTPUT:
        type_ = None
    # JSON has no integers: 3.0 is three.
    if isinstance(count, float) and count.is_integer():
        count = int(count)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MOST_LINES:
        count = None
    return ListedFile(kind, _address(item.get("url"), base), type_, count)


def _following(fields: dict[str, Any], base: URL) -> str | None:
    links = fields.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next":
            return _address(link.get("url"), base)
    # A spelling of the ballot.
    following = fields.get("next")
    return _address(following, base) if isinstance(following, str) else None


def _address(text: Any, base: URL) -> str:
    if not isinstance(text, str) or not text.strip():
        raise _bad()
    try:
        # The source's spelling of what is absolute is kept: signatures are over it.
        joined = text if text.startswith(("https://", "http://")) else str(base.join(URL(text)))
        parse_url(joined)
    except (UrlRefusedError, ValueError):
        raise _bad() from None
    return joined


def _instant(text: Any) -> datetime | None:
    try:
        at = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).astimezone(UTC)


def _bad() -> SourceFailure:
    return SourceFailure(ItemError.BAD_MANIFEST, _OK)
