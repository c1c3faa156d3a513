"""Bundles of what a search found (R4 section 2.36): resources pass as the bytes they are kept as."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sluice_storage.resources.model import Stored

_encode = msgspec.json.Encoder().encode


def searchset(
    base: str, found: Sequence[Stored], address: str, following: str | None, total: int | None
) -> bytes:
    """Write a page of what a search found.

    Parameters
    ----------
    base
        The FHIR API's outside URL.
    address, following
        The page's address, and that of the next one if there is one.
    total
        How many there are on all pages, if that is known.
    """
    links = [{"relation": "self", "url": address}]
    if following is not None:
        links.append({"relation": "next", "url": following})
    head: dict[str, object] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    if total is not None:
        head["total"] = total
    written = _encode(head)
    if not found:
        return written
    entries = b",".join(_entry(base, each) for each in found)
    return b"".join((written[:-1], b',"entry":[', entries, b"]}"))


def _entry(base: str, stored: Stored) -> bytes:
    url = _encode(f"{base}/{stored.type}/{stored.id}")
    return b"".join(
        (b'{"fullUrl":', url, b',"resource":', stored.body or b"null", b',"search":{"mode":"match"}}')
    )
