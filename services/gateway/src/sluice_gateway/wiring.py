"""The gateway put together: every service with what it needs, made once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sluice_contracts.events import JobKind
from sluice_fhir.client import FhirClient
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.source_store import SourceStore
from sluice_gateway.accepting import Accepting
from sluice_gateway.alerts import Alerts
from sluice_gateway.all_jobs import AllJobs, AnyJobStore
from sluice_gateway.auditing import Auditing, Records
from sluice_gateway.authentication import Verifier
from sluice_gateway.checkup import Checkup
from sluice_gateway.dead_letters import DeadLetters
from sluice_gateway.downloads import Tickets
from sluice_gateway.etas import Etas
from sluice_gateway.fhir.audit_trail import AuditReader, AuditTrail
from sluice_gateway.fhir.bulk_submit import BulkSubmit
from sluice_gateway.fhir.discovery import Discovery, SmartSource
from sluice_gateway.fhir.exports import ExportPorts, Exports, assemble_exports
from sluice_gateway.fhir.measures import MeasurePorts, Measures
from sluice_gateway.fhir.outcomes import BASE
from sluice_gateway.fhir.pacing import Pacing
from sluice_gateway.fhir.pull_bundles import BroughtReader, Bundles
from sluice_gateway.fhir.pull_store import PullStore
from sluice_gateway.fhir.pulls import Pulls
from sluice_gateway.fhir.reading import Reading
from sluice_gateway.fhir.searching import Searching
from sluice_gateway.fhir.starting import Sight
from sluice_gateway.fhir.submission_access import SubmissionAccess
from sluice_gateway.fhir.submission_store import SubmissionStore
from sluice_gateway.files import Files
from sluice_gateway.forecasts import Forecasts
from sluice_gateway.grants import GrantsApi
from sluice_gateway.groups import GroupsApi
from sluice_gateway.health import Health
from sluice_gateway.holding_up import Conditions, HoldingUp
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.idempotency import KeyStore
from sluice_gateway.imports import Imports, ImportStore
from sluice_gateway.job_ids import JobIds, id_keys
from sluice_gateway.page_files import PageFiles
from sluice_gateway.projects import Projects
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Policy, Quotas, QuotaStore
from sluice_gateway.scrape_trials import ScrapeTrials
from sluice_gateway.settings import Settings
from sluice_gateway.source_matching import SourceMatcher
from sluice_gateway.sources import Sources
from sluice_gateway.stores.webhooks import PostgresWebhooks
from sluice_gateway.submission import Submissions
from sluice_gateway.watching import Watching
from sluice_gateway.webhooks import Webhooks
from sluice_security.callers import Origins
from sluice_security.sealing import Seal
from sluice_storage.access.grants import Grants
from sluice_storage.catalogue import Catalogue
from sluice_storage.resources.groups import Groups
from sluice_storage.resources.lookup import Lookup
from sluice_streaming.tail import Tail


@dataclass(frozen=True, slots=True)
class Ports:
    """What the gateway reaches outside of itself."""

    verifier: Verifier
    quotas: QuotaStore
    keys: KeyStore
    imports: ImportStore
    all_jobs: AnyJobStore
    tail: Tail
    pulls: PullStore
    webhooks: PostgresWebhooks
    brought: BroughtReader
    submissions: SubmissionStore
    registry: SourceMatcher
    sources: SourceStore
    conditions: Conditions
    schemas: SchemaSet
    fhir: FhirClient
    catalogue: Catalogue
    commands: Commands
    health: Health
    grants: Grants
    groups: Groups
    lookup: Lookup
    smart: SmartSource
    exports: ExportPorts
    measures: MeasurePorts
    dead_letters: DeadLetters
    checkup: Checkup
    audit: Records
    audit_reader: AuditReader
    etas: Etas = field(default_factory=Etas)
    alerts: Alerts = field(default_factory=Alerts)


@dataclass(frozen=True, slots=True)
class Gateway:
    """The services that handlers use."""

    settings: Settings
    auditing: Auditing
    verifier: Verifier
    hrefs: Hrefs
    quotas: Quotas
    submissions: Submissions
    forecasts: Forecasts
    imports: Imports
    all_jobs: AllJobs
    watching: Watching
    pulls: Pulls
    webhooks: Webhooks
    bulk_submit: BulkSubmit
    projects: Projects
    files: Files
    tickets: Tickets
    catalogue: Catalogue
    sources: Sources
    trials: ScrapeTrials
    health: Health
    grants: GrantsApi
    groups: GroupsApi
    reading: Reading
    searching: Searching
    audit_trail: AuditTrail
    discovery: Discovery
    exports: Exports
    measures: Measures
    dead_letters: DeadLetters
    checkup: Checkup
    page_files: PageFiles
    document: bytes


@dataclass(frozen=True, slots=True)
class _JobServices:
    """Makes the services that take jobs and tell of them, of what they have in common."""

    settings: Settings
    ports: Ports
    hrefs: Hrefs
    quotas: Quotas
    ids: Mapping[JobKind, JobIds]
    now: Callable[[], float]

    def submissions(self) -> Submissions:
        ports = self.ports
        accepting = self._accepting(JobKind.DOCUMENT_IMPORT)
        return Submissions(
            ports.registry, ports.catalogue.projects, self.quotas, ports.keys, accepting, self.hrefs
        )

    def imports(self, files: Files) -> Imports:
        ids = self.ids[JobKind.DOCUMENT_IMPORT]
        return Imports(
            self.ports.imports, files, self.ports.commands, ids=ids, hrefs=self.hrefs, etas=self.ports.etas
        )

    def all_jobs(self) -> AllJobs:
        ports = self.ports
        return AllJobs(
            ports.all_jobs,
            self.ids,
            hrefs=self.hrefs,
            etas=ports.etas,
            alerts=ports.alerts,
            holding_up=HoldingUp(ports.conditions, ports.all_jobs),
            now=self.now,
        )

    def exports(self) -> Exports:
        ports = self.ports
        return assemble_exports(
            self.settings,
            ports.exports,
            Sight(ports.grants, ports.groups, ports.lookup),
            self.quotas,
            self._accepting(JobKind.BULK_EXPORT),
            ports.commands,
            self._pacing(self.settings.export_retry_after),
            ids=self.ids[JobKind.BULK_EXPORT],
            hrefs=self.hrefs,
            etas=ports.etas,
            now=self.now,
        )

    def pulls(self) -> Pulls:
        ports = self.ports
        return Pulls(
            ports.registry,
            ports.pulls,
            self.quotas,
            self._accepting(JobKind.BULK_IMPORT),
            ports.commands,
            self._pacing(self.settings.import_retry_after),
            Bundles(ports.pulls, ports.brought, self.hrefs(BASE)),
            ids=self.ids[JobKind.BULK_IMPORT],
            hrefs=self.hrefs,
            etas=ports.etas,
            relative=self.settings.import_relative_location,
            now=self.now,
        )

    def bulk_submit(self) -> BulkSubmit:
        ports = self.ports
        return BulkSubmit(
            ports.registry,
            ports.submissions,
            ports.pulls,
            self.quotas,
            ports.commands,
            SubmissionAccess(self.settings.secrets),
            self._pacing(self.settings.import_retry_after),
            ids=self.ids[JobKind.BULK_IMPORT],
            hrefs=self.hrefs,
            now=self.now,
        )

    def _accepting(self, kind: JobKind) -> Accepting:
        return Accepting(self.ids[kind], self.ports.keys, self.ports.commands)

    def _pacing(self, longest: int) -> Pacing:
        return Pacing(longest, self.settings.export_early_polls, monotonic=time.monotonic)


def assemble(
    settings: Settings,
    ports: Ports,
    document: bytes,
    *,
    now: Callable[[], float],
    nonce: Callable[[], int],
) -> Gateway:
    """Put the gateway together.

    Parameters
    ----------
    document
        The OpenAPI document to serve.
    now, nonce
        The wall clock (Unix seconds) and a source of 32 random bits.
    """
    hrefs = Hrefs(settings.public_url)
    base = hrefs(BASE)
    quotas = Quotas(ports.quotas, Policy(most=settings.bulk_limit), now=now)
    ids = {kind: JobIds(id_keys(settings.secrets, kind), now, nonce) for kind in JobKind}
    of_jobs = _JobServices(settings, ports, hrefs, quotas, ids, now)
    files = Files(ports.catalogue, hrefs)
    all_jobs, pulls = of_jobs.all_jobs(), of_jobs.pulls()
    hooks = Seal(settings.secrets, "webhooks")
    return Gateway(
        settings=settings,
        auditing=Auditing(ports.audit, Origins(settings.trusted_proxies)),
        verifier=ports.verifier,
        hrefs=hrefs,
        quotas=quotas,
        submissions=of_jobs.submissions(),
        forecasts=Forecasts(ports.catalogue),
        imports=of_jobs.imports(files),
        all_jobs=all_jobs,
        watching=Watching(ports.tail, all_jobs.some),
        pulls=pulls,
        webhooks=Webhooks(
            ports.webhooks,
            hooks,
            settings.loopback_sources,
            hrefs,
            now,
            timedelta(hours=settings.webhook_hours),
        ),
        bulk_submit=of_jobs.bulk_submit(),
        projects=Projects(ports.catalogue, hrefs),
        files=files,
        tickets=Tickets(Seal(settings.secrets, "downloads"), hrefs, now),
        catalogue=ports.catalogue,
        sources=Sources(ports.sources, ports.conditions, ports.alerts, hrefs),
        trials=ScrapeTrials(ports.schemas, ports.registry, ports.fhir, quotas),
        health=ports.health,
        grants=GrantsApi(ports.grants, hrefs, now=lambda: datetime.fromtimestamp(now(), UTC)),
        groups=GroupsApi(ports.groups, ports.grants, hrefs),
        reading=Reading(ports.grants, ports.groups, ports.lookup, base),
        searching=Searching(ports.grants, ports.groups, ports.lookup, base),
        audit_trail=AuditTrail(ports.audit_reader, base),
        discovery=Discovery(ports.smart, settings, now=now),
        exports=of_jobs.exports(),
        measures=Measures(ports.measures, ports.grants, quotas, pulls, ports.registry, base),
        dead_letters=ports.dead_letters,
        checkup=ports.checkup,
        page_files=PageFiles(settings.issuer),
        document=document,
    )
