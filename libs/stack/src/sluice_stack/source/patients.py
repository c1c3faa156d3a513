"""The Synthea data set: its files as a FHIR server would hold them after loading them."""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from sluice_stack.source.dataset import DataSet, Resource

SOFTWARE = "Synthea demo server"
_TYPES = ("Patient", "Practitioner", "Organization", "Encounter", "Condition", "DocumentReference")


def load(folder: Path) -> DataSet:
    """Serve the `<type>.ndjson.gz` files in `folder`.

    Every second document's text moves to a Binary that the document names by its URL, with its size and
    hash, so that both ways of carrying content are there.
    """
    data = DataSet("Synthetic patients by Synthea", SOFTWARE, pack=True)
    resources = [resource for kind in _TYPES for resource in _lines(folder / f"{kind}.ndjson.gz")]
    known = _identified(resources)
    documents = 0
    for resource in resources:
        _resolve(resource, known)
        if resource["resourceType"] == "DocumentReference":
            documents += 1
            if documents % 2 == 0:
                _by_url(resource, data)
        data.add(resource)
    return data


def _lines(path: Path) -> Iterator[Resource]:
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line)


def _identified(resources: list[Resource]) -> dict[str, str]:
    return {
        f"{resource['resourceType']}?identifier={item.get('system')}|{item.get('value')}": (
            f"{resource['resourceType']}/{resource['id']}"
        )
        for resource in resources
        for item in resource.get("identifier", ())
    }


def _resolve(node: Any, known: dict[str, str]) -> None:
    """Make Synthea's conditional references literal, as a server does when it loads them (R4 3.1.0.11.2)."""
    if isinstance(node, dict):
        reference = node.get("reference")
        if isinstance(reference, str) and "?" in reference:
            node["reference"] = known.get(reference, reference)
        for value in node.values():
            _resolve(value, known)
    elif isinstance(node, list):
        for value in node:
            _resolve(value, known)


def _by_url(document: Resource, data: DataSet) -> None:
    for position, entry in enumerate(document["content"]):
        attachment = entry["attachment"]
        body = base64.b64decode(attachment.pop("data"))
        name = f"{document['id']}-{position}"
        digest = hashlib.sha1(body, usedforsecurity=False).digest()
        attachment["url"] = f"Binary/{name}"
        attachment["size"] = len(body)
        attachment["hash"] = base64.b64encode(digest).decode()
        attachment["title"] = f"note-{document['id'][:8]}.txt"
        data.add_file(name, body, attachment["contentType"])
