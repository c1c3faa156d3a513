"""Bulk Data Access 2.0.0 and 3.0.0: the later one only adds parameters and fields to the earlier.

| module | what for |
|---|---|
| `declared` | which parameters there are |
| `parameters` | a kick-off's parameters, from the address and from a Parameters resource |
| `kickoff` | what they mean |
| `filters` | what `_typeFilter` means |
| `manifest` | how files are listed |
"""

from __future__ import annotations

from typing import Any

from sluice_contracts.exports import ExportRequest
from sluice_gateway.fhir.kickoff import KickOff, Page
from sluice_gateway.fhir.v3.kickoff import read
from sluice_gateway.fhir.v3.manifest import written


class Version3:
    """See `sluice_gateway.fhir.kickoff.Dialect`."""

    def read(self, kickoff: KickOff) -> ExportRequest:
        """See `Dialect.read`."""
        return read(kickoff)

    def manifest(self, page: Page) -> dict[str, Any]:
        """See `Dialect.manifest`."""
        return written(page)
