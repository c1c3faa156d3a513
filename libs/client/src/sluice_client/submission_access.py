"""How the service is to read what is submitted in bulk: header fields, a key, an authorization server.

See "Manifest and File Security" (Bulk Data Access 4.0.0, ballot).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from sluice_client.content_keys import ContentKey
from sluice_client.errors import SluiceError

_ENCRYPTED = {"system": "http://hl7.org/fhir/uv/bulkdata/ValueSet/file-encryption-type", "code": "jwe"}


class SubmissionAccess(Struct, frozen=True, kw_only=True):
    """What the service needs to read a submitted manifest and its files; its secrets are never shown.

    Parameters
    ----------
    headers
        Header fields to send with requests for them, if operators permitted their names for the source. A
        permitted `Authorization` takes the place of the credentials that are registered for it.
    key
        They are encrypted: each is a JWE in its compact form, `dir` with this key.
    oauth_metadata_url
        They are protected by this authorization server: tokens are got with the credentials, and where,
        operators registered for the source.
    """

    headers: Mapping[str, str] = {}
    key: ContentKey | None = None
    oauth_metadata_url: str | None = None

    def __repr__(self) -> str:
        return "SubmissionAccess(…)"

    def parameters(self, published: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Say it as parameters of `$bulk-submit`; the key is encrypted for one of those published."""
        given = [_header(name, value) for name, value in self.headers.items()]
        if self.key is not None:
            value = {"name": "value", "valueString": self.key.delivered(published)}
            coding = {"name": "coding", "valueCoding": _ENCRYPTED}
            given.append({"name": "fileEncryptionKey", "part": [coding, value]})
        if self.oauth_metadata_url is not None:
            given.append({"name": "oauthMetadataUrl", "valueUrl": self.oauth_metadata_url})
        return given


def header_fields(text: str) -> dict[str, str]:
    """Read header fields, each on a line as `Name: value`, as curl's `-H @FILE` does.

    Raises
    ------
    SluiceError
        A line is none, or names one that was there; the text never has what it says.
    """
    found: dict[str, str] = {}
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not (name and colon and value):
            raise SluiceError(f"Line {number} is no header field.", "Write each as Name: value.")
        if name.lower() in names:
            raise SluiceError(f"Line {number} names a header field again.", "Give each of them once.")
        names.add(name.lower())
        found[name] = value
    return found


def _header(name: str, value: str) -> dict[str, Any]:
    parts = [{"name": "headerName", "valueString": name}, {"name": "headerValue", "valueString": value}]
    return {"name": "fileRequestHeader", "part": parts}
