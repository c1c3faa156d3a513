"""What all versions of Bulk Data Access share: a kick-off becomes a request, files become a manifest.

A version is a `Dialect`: it alone knows parameters' names and forms, and what a manifest looks like. All else
works with `ExportRequest` and `Page`, so that another version is another module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from multidict import MultiMapping

from sluice_contracts.exports import ExportLevel, ExportRequest, FileKind


@dataclass(frozen=True, slots=True)
class KickOff:
    """A kick-off as it came.

    Parameters
    ----------
    level, group
        Which operation it is, and on which group.
    url
        The absolute address it was sent to, as the client wrote it.
    query
        The parameters in the address.
    body
        The bytes of a POST's body; empty: it has none. None: it is no POST.
    lenient
        Go on without what is not supported.
    """

    level: ExportLevel
    group: str | None
    url: str
    query: MultiMapping[str]
    body: bytes | None = None
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as a manifest lists it; `following` is where its last block goes on, if it does."""

    kind: FileKind
    type: str | None
    url: str
    count: int
    size: int
    sha256: bytes
    following: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A manifest, or a page of one.

    Parameters
    ----------
    transaction_time
        The instant whose state the files hold.
    request
        The kick-off's address.
    organized_by
        What files are organized by, if not by type.
    files
        In the order in which they are listed.
    following
        The address of the next page.
    """

    transaction_time: datetime
    request: str
    organized_by: str | None
    files: Sequence[ListedFile]
    following: str | None = None


class Dialect(Protocol):
    """One version of Bulk Data Access."""

    def read(self, kickoff: KickOff) -> ExportRequest:
        """Give what is asked for.

        Raises
        ------
        Refusal
            400: with an issue for everything that is wrong.
        """

    def manifest(self, page: Page) -> dict[str, Any]:
        """Give the manifest as JSON."""
