"""What a bulk import is asked for, and how that is said to the service (`$import`)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from msgspec import Struct, field

from sluice_client.errors import SluiceError
from sluice_client.export_requests import instant, strings

_PERCENT = re.compile(r"(\d{1,3})\s*%")
_AT_SOURCE = "Retrieving"


class PullRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is to be imported: what a registered source exports.

    Parameters
    ----------
    export_url
        The address at which the source is asked for the export, or that of a manifest if it is `static`.
    types, since, type_filters, elements
        What the source is asked for; what the address says already stays as it is. None of it goes with
        `static`: a manifest is what it is.
    static
        The address is a manifest that is there.
    strict
        Store everything in one step, or nothing if a file or a line cannot be had or a reference resolves
        nowhere.
    """

    export_url: str
    types: tuple[str, ...] = ()
    since: datetime | None = None
    type_filters: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    static: bool = False
    strict: bool = False

    def check(self) -> None:
        """Refuse what the service could not make sense of, before it is asked.

        Raises
        ------
        SluiceError
            Parts of the request contradict each other.
        """
        if self.static and (self.types or self.since or self.type_filters or self.elements):
            raise SluiceError("A manifest is what it is: nothing can be asked of it.", "Leave static out.")
        if self.since is not None and self.since.tzinfo is None:
            raise SluiceError("since needs a time zone.", "Such as 2026-01-31T00:00:00Z.")

    def parameters(self) -> list[dict[str, Any]]:
        """Say it as the parameters of `$import`."""
        given: list[dict[str, Any]] = [{"name": "exportUrl", "valueUrl": self.export_url}]
        if self.static:
            given.append({"name": "exportType", "valueCode": "static"})
        if self.strict:
            given.append({"name": "_strict", "valueBoolean": True})
        if self.since is not None:
            given.append({"name": "_since", "valueInstant": instant(self.since)})
        given += strings("_type", self.types)
        given += strings("_elements", self.elements)
        return given + strings("_typeFilter", self.type_filters)


class _Extension(Struct, rename="camel"):
    source_transaction_time: datetime | None = None


class PullManifest(Struct, rename="camel", kw_only=True):
    """What the service says of an import that has ended: when that was, and where it tells more."""

    class Listed(Struct):
        """A file of outcomes."""

        url: str
        count: int | None = None

    transaction_time: datetime
    extension: _Extension = field(default_factory=_Extension)
    output: list[Listed] = field(default_factory=list)
    error: list[Listed] = field(default_factory=list)


class PullStatus(Struct, frozen=True, kw_only=True):
    """How an import stands.

    Parameters
    ----------
    job
        The import's id.
    manifest
        None until it has ended.
    progress
        What the service says (`X-Progress`).
    retry_after
        Seconds that the service asks to leave it alone.
    """

    job: str
    manifest: PullManifest | None = None
    progress: str = ""
    retry_after: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.manifest is not None

    @property
    def exporting(self) -> bool:
        """Whether the source still makes its export."""
        return not self.finished and _AT_SOURCE in self.progress

    @property
    def percent(self) -> int | None:
        """How far the source is with its export, or the service with loading it; None: not known."""
        if self.finished:
            return 100
        found = _PERCENT.search(self.progress)
        return min(100, int(found.group(1))) if found else None


class PullOutcome(Struct, frozen=True, kw_only=True):
    """What became of a file of an import, or something that went wrong with it.

    Parameters
    ----------
    severity
        `information`, `warning` or `error`.
    code
        FHIR's word for the kind of issue.
    text
        In words; it holds nothing of the data.
    """

    severity: str
    code: str
    text: str


class Pulled(Struct, frozen=True, kw_only=True):
    """What an import that has ended came to.

    Parameters
    ----------
    job
        Its id.
    transaction_time
        When it ended.
    source_time
        As of when the data are, if the source says so: the next import's `since`.
    outcomes
        One for each file, and one for all of them.
    problems
        What went wrong, as much of it as was asked for.
    errors, warnings
        How many problems there are of the one and the other kind.
    """

    job: str
    transaction_time: datetime
    source_time: datetime | None = None
    outcomes: tuple[PullOutcome, ...] = ()
    problems: tuple[PullOutcome, ...] = ()
    errors: int = 0
    warnings: int = 0
