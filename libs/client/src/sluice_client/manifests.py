"""What a server says of an export: how far it is, and the manifest of its files."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct, field

from sluice_client.errors import SluiceError
from sluice_contracts.wire import UNREADABLE

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d+)?)\s*%")


class ExportFileKind(StrEnum):
    """The list of the manifest that a file is in: resources, deletions, or what the server has to say."""

    OUTPUT = "output"
    DELETED = "deleted"
    ERROR = "error"


class ExportFile(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file of an export.

    Parameters
    ----------
    url
        Where it is.
    kind
        What it is.
    type
        The type of its resources; None in exports that are organized by patient.
    count
        How many resources it has, if the server says so.
    size, sha256
        Of its bytes without compression, if the server says so.
    """

    url: str
    kind: ExportFileKind = ExportFileKind.OUTPUT
    type: str | None = None
    count: int | None = None
    size: int | None = None
    sha256: str | None = None


class Manifest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A manifest, or one page of it.

    Parameters
    ----------
    transaction_time
        Everything up to then is in the export, nothing of after it: the next export's `since`.
    request
        The kick-off's address.
    requires_token
        Whether files are given only for the token.
    files
        All files of all lists.
    next
        Where the next page is, if there is one.
    """

    transaction_time: datetime
    request: str = ""
    requires_token: bool = True
    files: tuple[ExportFile, ...] = ()
    next: str | None = None


class ExportStatus(Struct, frozen=True, kw_only=True):
    """How an export stands.

    Parameters
    ----------
    finished
        Whether nothing is added any more to what this page lists.
    progress
        What the server says (`X-Progress`).
    manifest
        What there is; while the export runs, only of those that allow partial manifests.
    retry_after
        Seconds that the server asks to leave it alone.
    """

    finished: bool
    progress: str = ""
    manifest: Manifest | None = None
    retry_after: float | None = None

    @property
    def percent(self) -> float | None:
        """How far it is, if the server says so."""
        found = _PERCENT.search(self.progress)
        return min(100.0, float(found.group(1))) if found else None


class _Link(Struct):
    relation: str = ""
    url: str = ""


class _Entry(Struct):
    url: str
    type: str | None = None
    count: int | None = None
    extension: Any = None


class _Body(Struct, rename="camel"):
    transaction_time: datetime
    requires_access_token: bool = True
    request: str = ""
    output: list[_Entry] = field(default_factory=list)
    deleted: list[_Entry] = field(default_factory=list)
    error: list[_Entry] = field(default_factory=list)
    # The name that the fourth version gives to `error`.
    outcome: list[_Entry] = field(default_factory=list)
    link: list[_Link] = field(default_factory=list)


def read_manifest(body: bytes) -> Manifest:
    """Read a manifest of any version up to the ballot of the fourth.

    Raises
    ------
    SluiceError
        It is none.
    """
    try:
        said = msgspec.json.decode(body, type=_Body)
    except UNREADABLE:
        raise SluiceError("The service's manifest is none.", "Tell the operators.") from None
    lists = (
        (ExportFileKind.OUTPUT, said.output),
        (ExportFileKind.DELETED, said.deleted),
        (ExportFileKind.ERROR, [*said.error, *said.outcome]),
    )
    return Manifest(
        transaction_time=said.transaction_time,
        request=said.request,
        requires_token=said.requires_access_token,
        files=tuple(_file(kind, entry) for kind, entries in lists for entry in entries),
        next=next((link.url for link in said.link if link.relation == "next" and link.url), None),
    )


def _file(kind: ExportFileKind, entry: _Entry) -> ExportFile:
    told = _extension(entry.extension)
    size, digest = told.get("size"), told.get("sha256")
    return ExportFile(
        url=entry.url,
        kind=kind,
        type=entry.type,
        count=entry.count,
        size=size if isinstance(size, int) and size >= 0 else None,
        sha256=digest.lower() if isinstance(digest, str) and _SHA256.fullmatch(digest) else None,
    )


def _extension(extension: Any) -> dict[str, Any]:
    """Give an extension's values by the last word of their names.

    Up to the third version it is an object of values by name, from the fourth on a list of FHIR extensions;
    either may be nested.
    """
    found: dict[str, Any] = {}
    if isinstance(extension, dict):
        for name, value in extension.items():
            found |= _extension(value) if isinstance(value, dict | list) else {_last_word(name): value}
    elif isinstance(extension, list):
        for each in extension:
            if isinstance(each, dict) and isinstance(each.get("url"), str):
                value = next((each[name] for name in each if name.startswith("value")), None)
                found |= {_last_word(each["url"]): value} | _extension(each.get("extension"))
    return found


def _last_word(name: str) -> str:
    return re.split(r"[/#:]", name)[-1].removeprefix("file-").lower()
