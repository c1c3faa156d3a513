"""Bulk export put together: what accepts exports, what answers polls, what serves files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice_gateway.accepting import Accepting
from sluice_gateway.etas import Etas
from sluice_gateway.fhir.export_store import ExportStore
from sluice_gateway.fhir.files import Files, Holds
from sluice_gateway.fhir.pacing import Pacing
from sluice_gateway.fhir.polling import Owners, Polling
from sluice_gateway.fhir.sending import ExportFiles
from sluice_gateway.fhir.starting import Rules, Sight, Starting
from sluice_gateway.fhir.v3 import Version3
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.job_ids import JobIds
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Quotas
from sluice_gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class ExportPorts:
    """What bulk export reaches outside: exports' rows, their files, what keeps these while they are read."""

    store: ExportStore
    objects: ExportFiles
    holds: Holds


@dataclass(frozen=True, slots=True)
class Exports:
    """The services that bulk export's handlers use."""

    starting: Starting
    polling: Polling
    files: Files


def assemble_exports(
    settings: Settings,
    ports: ExportPorts,
    sight: Sight,
    quotas: Quotas,
    accepting: Accepting,
    commands: Commands,
    pacing: Pacing,
    *,
    ids: JobIds,
    hrefs: Hrefs,
    etas: Etas,
    now: Callable[[], float],
) -> Exports:
    """Put it together; `now` is the wall clock (Unix seconds)."""
    dialect = Version3()
    owners = Owners(ports.store, sight.grants, ids, now)
    rules = Rules(settings.export_running, settings.export_refuse_duplicates)
    return Exports(
        starting=Starting(
            dialect, sight, ports.store, quotas, accepting, commands, rules, hrefs=hrefs, now=now
        ),
        polling=Polling(
            owners,
            ports.store,
            dialect,
            commands,
            ports.holds,
            pacing,
            hrefs=hrefs,
            etas=etas,
            milliseconds=settings.export_retry_after_milliseconds,
            now=now,
        ),
        files=Files(owners, ports.objects, ports.holds, settings.keys),
    )
