"""Bulk export put together: what accepts exports, what answers polls, what serves files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sluice_contracts.ids import Keys, derived
from sluice_gateway.etas import Etas
from sluice_gateway.fhir.export_store import ExportStore
from sluice_gateway.fhir.files import Files, Holds
from sluice_gateway.fhir.pacing import Pacing
from sluice_gateway.fhir.polling import Owners, Polling
from sluice_gateway.fhir.sending import ExportFiles
from sluice_gateway.fhir.starting import Rules, Sight, Starting
from sluice_gateway.fhir.v3 import Version3
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.idempotency import KeyStore
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Quotas
from sluice_gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class BulkPorts:
    """What bulk export reaches outside: exports' rows, their files, what keeps these while they are read."""

    store: ExportStore
    objects: ExportFiles
    holds: Holds


@dataclass(frozen=True, slots=True)
class Bulk:
    """The services that bulk export's handlers use."""

    starting: Starting
    polling: Polling
    files: Files


def export_key(secrets: Keys) -> Keys:
    """Give the keys that exports' ids are signed with; an import's id is no export's."""
    return derived(secrets, b"sluice export ids")


def assemble_bulk(
    settings: Settings,
    ports: BulkPorts,
    sight: Sight,
    keys: KeyStore,
    quotas: Quotas,
    commands: Commands,
    *,
    hrefs: Hrefs,
    etas: Etas,
    now: Callable[[], float],
    monotonic: Callable[[], float],
    nonce: Callable[[], int],
) -> Bulk:
    """Put it together; `now` is the wall clock (Unix seconds), `monotonic` one that never goes back."""
    key = export_key(settings.secrets)
    dialect = Version3()
    owners = Owners(ports.store, key=key, now=now)
    return Bulk(
        starting=Starting(
            dialect,
            sight,
            ports.store,
            keys,
            quotas,
            commands,
            Rules(settings.export_running, settings.export_refuse_duplicates),
            key=key,
            hrefs=hrefs,
            now=now,
            nonce=nonce,
        ),
        polling=Polling(
            owners,
            ports.store,
            dialect,
            commands,
            ports.holds,
            Pacing(settings.export_retry_after, settings.export_early_polls, monotonic=monotonic),
            hrefs=hrefs,
            etas=etas,
            milliseconds=settings.export_retry_after_milliseconds,
            now=now,
        ),
        files=Files(owners, ports.objects, ports.holds, settings.keys),
    )
