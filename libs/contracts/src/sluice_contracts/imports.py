"""What a bulk import (ping and pull) is asked for, as its start carries it and its job keeps it.

The gateway resolves it at the kick-off: the source is a registered one that covers the address, and the
parameters that the client gave are part of the address already. Whoever reads it asks for exactly this.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class ExportType(StrEnum):
    """What an `exportUrl` is: an export to be kicked off and polled, or a manifest that is there."""

    DYNAMIC = "dynamic"
    STATIC = "static"


class PulledKind(StrEnum):
    """The list of the source's manifest that a file is in."""

    OUTPUT = "output"
    DELETED = "deleted"
    ERROR = "error"


class ImportRequest(Struct, frozen=True, kw_only=True):
    """What is asked for.

    Parameters
    ----------
    source
        The registered source.
    url
        What is asked there, with all parameters: the kick-off's address, or the manifest's.
    export_type
        Which of the two it is.
    report
        The MeasureReport that the data are submitted with, as JSON: it is stored when they are.
    strict
        Store everything, in one step, or nothing.
    base
        What the files' relative references are relative to; None: the source's base URL.
    claims
        What is loaded may be taken back later: the job has a version of its own of everything it brings.
    after
        The job whose data these take the place of: nothing is asked for before that is taken back.
    submitted
        Header fields and a key for the manifest and its files, sealed; see `sluice_fhir.submitted`.
    """

    source: str
    url: str
    export_type: ExportType = ExportType.DYNAMIC
    report: str | None = None
    strict: bool = False
    base: str | None = None
    claims: bool = False
    after: str | None = None
    submitted: str | None = None
