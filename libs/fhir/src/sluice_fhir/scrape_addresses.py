"""Where a document's references and a schema's searches lead: addresses below the source's base URL, only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from yarl import URL

from sluice_fhir.references import InvalidReferenceError, Reference, parse_reference
from sluice_fhir.scrape_plan import Node

# R4 section 3.1.0.11.1 keeps conditional references to transactions, but Synthea's files, loaded one by one,
# leave them in place: `Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|9999999999`.
_CONDITIONAL = re.compile(r"(?P<type>[A-Z][A-Za-z]{1,63})\?(?P<query>[!-~]{1,1000})")


@dataclass(frozen=True, slots=True)
class Address:
    """One thing to read.

    Parameters
    ----------
    url
        Absolute.
    expected
        The type of what is there.
    reference
        The resource as a relative reference, if that is known before it is read.
    sole
        It counts only if it is the only one found.
    """

    url: str
    expected: str
    reference: str = ""
    sole: bool = False


def follow_address(node: Node, text: str, base: str) -> Address | None:
    """Give where the reference `text` leads, None if that is nothing the node may read.

    That is: a resource of another type than the node's, one that is not below `base`, a logical reference
    (`urn:uuid:…`), or no reference at all.
    """
    conditional = _CONDITIONAL.fullmatch(text)
    if conditional is not None:
        if conditional["type"] not in node.types or "#" in text:
            return None
        query = quote(conditional["query"], safe="=&:/,.-_~%")
        return Address(f"{base}/{conditional['type']}?{query}&_count=2", "Bundle", sole=True)
    try:
        found = parse_reference(text)
    except InvalidReferenceError:
        return None
    if found.type not in node.types or (found.base is not None and not is_same_base(found.base, base)):
        return None
    current = Reference(None, found.type, found.id).path
    return Address(f"{base}/{found.path}", found.type, current)


def search_address(node: Node, references: Sequence[str], base: str) -> Address | None:
    """Give where a node's search is asked, None if a resource it asks about is not known."""
    parts = [base, "/"]
    for part in node.search:
        if isinstance(part, str):
            parts.append(part)
            continue
        number, only_id = part
        reference = references[number]
        if not reference:
            return None
        parts.append(quote(reference.partition("/")[2] if only_id else reference, safe="/"))
    return Address("".join(parts), "Bundle")


@lru_cache(maxsize=1024)
def is_same_base(one: str, two: str) -> bool:
    """Tell whether two base URLs are the same but for spelling (case of the host, a port left out)."""
    try:
        left, right = URL(one), URL(two)
        return _place(left) == _place(right)
    except ValueError:
        return False


def _place(url: URL) -> tuple[str | None, ...]:
    # A port left out is its scheme's; credentials in an address make it another one.
    return (url.scheme, (url.host or "").lower(), str(url.port), url.path.rstrip("/"), url.user, url.password)
