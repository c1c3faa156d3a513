"""References between the entries of a transaction (R4, http, 3.1.0.11.2): replaced by what they come to.

A transaction's resources may refer to each other by the `fullUrl` of their entries, most of all by
`urn:uuid:…` for resources that get their ids only now, and by searches (`Practitioner?identifier=…`). A
search is done among the transaction's own resources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from sluice_fhir.measures.entries import Entry
from sluice_fhir.measures.problems import MeasureProblem
from sluice_fhir.search import SearchError, parse_type_filter

# Numbers keep their digits: 1.10 is not 1.1 in FHIR.
_decode = msgspec.json.Decoder(float_hook=lambda digits: Raw(digits.encode())).decode
_URN = re.compile(r"urn:(?:uuid|oid):", re.IGNORECASE)
_SEARCH = re.compile(r"[A-Z][A-Za-z]+\?.+", re.DOTALL)
_LINK = re.compile(r"((?:href|src)\s*=\s*[\"'])([^\"']+)([\"'])")
# A name's or identifier's value is text and not an address, even if it looks like one.
_TEXTS = frozenset({"value", "valueString", "valueMarkdown", "display", "id"})


class Links:
    """What the references in a transaction come to.

    Parameters
    ----------
    addresses
        `Type/id` by what stands for it: full URLs, and `Type/id` of resources that get another id.
    entries
        The entries of the transaction, among which searches are done.
    """

    def __init__(self, addresses: Mapping[str, str], entries: Sequence[Entry]) -> None:
        self._addresses = addresses
        self._entries = entries
        self._decoded: dict[str, list[tuple[str, Any]]] = {}
        self._searched: dict[str, str | None] = {}

    def resolve(self, body: bytes) -> tuple[bytes, MeasureProblem | None]:
        """Replace references in a resource.

        Returns
        -------
        tuple
            The resource (the same bytes if there is nothing to replace), and what is wrong if a reference
            cannot be resolved.
        """
        if b"urn:" not in body.lower() and b'"reference"' not in body:
            return body, None
        walk = _Replacing(self)
        tree = walk.replaced(_decode(body), "")
        if walk.unresolved:
            return body, MeasureProblem.REFERENCE_UNRESOLVED
        return (msgspec.json.encode(tree) if walk.changed else body), None

    def address(self, text: str) -> str | None:
        """Give what an address comes to, None if nothing stands for it here."""
        place, mark, fragment = text.partition("#")
        found = self._addresses.get(place)
        return None if found is None else f"{found}{mark}{fragment}"

    def search(self, text: str) -> str | None:
        """Give the one resource that a search finds, None if it is not exactly one."""
        if text not in self._searched:
            self._searched[text] = self._search(text)
        return self._searched[text]

    def _search(self, text: str) -> str | None:
        try:
            wanted = parse_type_filter(text)
        except SearchError:
            return None
        if wanted.type not in self._decoded:
            self._decoded[wanted.type] = [
                (each.key, msgspec.json.decode(each.body))
                for each in self._entries
                if each.body and each.type == wanted.type
            ]
        found = [key for key, resource in self._decoded[wanted.type] if wanted(resource)]
        return found[0] if len(found) == 1 else None


class _Replacing:
    """One pass over a resource."""

    def __init__(self, links: Links) -> None:
        self._links = links
        self.changed = False
        self.unresolved = False

    def replaced(self, node: Any, key: str) -> Any:
        if isinstance(node, dict):
            return {name: self.replaced(child, name) for name, child in node.items()}
        if isinstance(node, list):
            return [self.replaced(child, key) for child in node]
        if not isinstance(node, str):
            return node
        new = self._text(node, key)
        self.changed = self.changed or new != node
        return new

    def _text(self, text: str, key: str) -> str:
        if key == "reference":
            return self._reference(text)
        if key == "div":
            return _LINK.sub(lambda link: link[1] + (self._links.address(link[2]) or link[2]) + link[3], text)
        if key not in _TEXTS and _URN.match(text):
            return self._links.address(text) or text
        return text

    def _reference(self, text: str) -> str:
        found = self._links.address(text)
        if found is None and _SEARCH.fullmatch(text):
            found = self._links.search(text)
            self.unresolved = self.unresolved or found is None
        elif found is None and _URN.match(text):
            self.unresolved = True
        return text if found is None else found
