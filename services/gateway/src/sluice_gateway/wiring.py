"""The gateway put together: every service with what it needs, made once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sluice_contracts.events import JobKind
from sluice_contracts.ids import Keys, derived
from sluice_fhir.client import FhirClient
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.source_store import SourceStore
from sluice_gateway.all_jobs import AllJobs, AnyJobStore
from sluice_gateway.auditing import Auditing, Records
from sluice_gateway.authentication import Verifier
from sluice_gateway.checkup import Checkup
from sluice_gateway.dead_letters import DeadLetters
from sluice_gateway.downloads import Tickets
from sluice_gateway.etas import Etas
from sluice_gateway.fhir.audit_trail import AuditReader, AuditTrail
from sluice_gateway.fhir.bulk import Bulk, BulkPorts, assemble_bulk, export_key
from sluice_gateway.fhir.bulk_submit import BulkSubmit
from sluice_gateway.fhir.discovery import Discovery, SmartSource
from sluice_gateway.fhir.measures import MeasurePorts, Measures
from sluice_gateway.fhir.outcomes import BASE
from sluice_gateway.fhir.pacing import Pacing
from sluice_gateway.fhir.pull_bundles import BroughtReader, Bundles
from sluice_gateway.fhir.pull_store import PullStore
from sluice_gateway.fhir.pulls import Pulls, pull_key
from sluice_gateway.fhir.reading import Reading
from sluice_gateway.fhir.searching import Searching
from sluice_gateway.fhir.starting import Sight
from sluice_gateway.fhir.submission_store import SubmissionStore
from sluice_gateway.files import Files
from sluice_gateway.forecasts import Forecasts
from sluice_gateway.grants import GrantsApi
from sluice_gateway.groups import GroupsApi
from sluice_gateway.health import Health
from sluice_gateway.hrefs import Hrefs
from sluice_gateway.idempotency import KeyStore
from sluice_gateway.jobs import Jobs, JobStore
from sluice_gateway.page_files import PageFiles
from sluice_gateway.projects import Projects
from sluice_gateway.publishing import Commands
from sluice_gateway.quotas import Policy, Quotas, QuotaStore
from sluice_gateway.scrape_trials import ScrapeTrials
from sluice_gateway.settings import Settings
from sluice_gateway.source_matching import SourceMatcher
from sluice_gateway.sources import Conditions, Sources
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
    jobs: JobStore
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
    bulk: BulkPorts
    measures: MeasurePorts
    dead_letters: DeadLetters
    checkup: Checkup
    audit: Records
    audit_reader: AuditReader
    etas: Etas = field(default_factory=Etas)


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
    jobs: Jobs
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
    bulk: Bulk
    measures: Measures
    dead_letters: DeadLetters
    checkup: Checkup
    page_files: PageFiles
    document: bytes


def job_key(secrets: Keys) -> Keys:
    """Give the keys that job ids are signed with: the deployment's secrets for this one purpose."""
    return derived(secrets, b"sluice job ids")


def _job_keys(settings: Settings) -> dict[JobKind, Keys]:
    secret = settings.secrets
    return {
        JobKind.DOCUMENT_IMPORT: job_key(secret),
        JobKind.BULK_EXPORT: export_key(secret),
        JobKind.BULK_IMPORT: pull_key(secret),
    }


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
    quotas = Quotas(ports.quotas, Policy(most=settings.bulk_limit), now=now)
    files = Files(ports.catalogue, hrefs)
    key = job_key(settings.secrets)
    pulls = _pulls(settings, ports, quotas, hrefs, now=now, nonce=nonce)
    all_jobs = AllJobs(ports.all_jobs, _job_keys(settings), hrefs=hrefs, etas=ports.etas, now=now)
    return Gateway(
        settings=settings,
        auditing=Auditing(ports.audit, Origins(settings.trusted_proxies)),
        verifier=ports.verifier,
        hrefs=hrefs,
        quotas=quotas,
        submissions=_submissions(settings, ports, quotas, hrefs, now=now, nonce=nonce),
        forecasts=Forecasts(ports.catalogue),
        jobs=Jobs(ports.jobs, files, ports.commands, key=key, hrefs=hrefs, etas=ports.etas, now=now),
        all_jobs=all_jobs,
        watching=Watching(ports.tail, all_jobs.some),
        pulls=pulls,
        webhooks=Webhooks(
            ports.webhooks,
            Seal(settings.secrets, "webhooks"),
            settings.loopback_sources,
            hrefs,
            now,
        ),
        bulk_submit=_bulk_submit(settings, ports, quotas, hrefs, now=now, nonce=nonce),
        projects=Projects(ports.catalogue, hrefs),
        files=files,
        tickets=Tickets(Seal(settings.secrets, "downloads"), hrefs, now),
        catalogue=ports.catalogue,
        sources=Sources(ports.sources, ports.conditions, hrefs),
        trials=ScrapeTrials(ports.schemas, ports.registry, ports.fhir, quotas),
        health=ports.health,
        grants=GrantsApi(ports.grants, hrefs, now=lambda: datetime.fromtimestamp(now(), UTC)),
        groups=GroupsApi(ports.groups, ports.grants, hrefs),
        reading=Reading(ports.grants, ports.groups, ports.lookup, hrefs(BASE)),
        searching=Searching(ports.grants, ports.groups, ports.lookup, hrefs(BASE)),
        audit_trail=AuditTrail(ports.audit_reader, hrefs(BASE)),
        discovery=Discovery(ports.smart, settings, now=now),
        bulk=_bulk(settings, ports, quotas, hrefs, now=now, nonce=nonce),
        measures=Measures(ports.measures, ports.grants, quotas, pulls, ports.registry, hrefs(BASE)),
        dead_letters=ports.dead_letters,
        checkup=ports.checkup,
        page_files=PageFiles(settings.issuer),
        document=document,
    )


def _submissions(
    settings: Settings,
    ports: Ports,
    quotas: Quotas,
    hrefs: Hrefs,
    *,
    now: Callable[[], float],
    nonce: Callable[[], int],
) -> Submissions:
    return Submissions(
        ports.registry,
        ports.catalogue.projects,
        quotas,
        ports.keys,
        ports.commands,
        key=job_key(settings.secrets),
        hrefs=hrefs,
        now=now,
        nonce=nonce,
    )


def _bulk(
    settings: Settings,
    ports: Ports,
    quotas: Quotas,
    hrefs: Hrefs,
    *,
    now: Callable[[], float],
    nonce: Callable[[], int],
) -> Bulk:
    return assemble_bulk(
        settings,
        ports.bulk,
        Sight(ports.grants, ports.groups, ports.lookup),
        ports.keys,
        quotas,
        ports.commands,
        hrefs=hrefs,
        etas=ports.etas,
        now=now,
        monotonic=time.monotonic,
        nonce=nonce,
    )


def _pulls(
    settings: Settings,
    ports: Ports,
    quotas: Quotas,
    hrefs: Hrefs,
    *,
    now: Callable[[], float],
    nonce: Callable[[], int],
) -> Pulls:
    return Pulls(
        ports.registry,
        ports.pulls,
        ports.keys,
        quotas,
        ports.commands,
        Pacing(settings.import_retry_after, settings.export_early_polls, monotonic=time.monotonic),
        Bundles(ports.pulls, ports.brought, hrefs(BASE)),
        key=pull_key(settings.secrets),
        hrefs=hrefs,
        etas=ports.etas,
        relative=settings.import_relative_location,
        now=now,
        nonce=nonce,
    )


def _bulk_submit(
    settings: Settings,
    ports: Ports,
    quotas: Quotas,
    hrefs: Hrefs,
    *,
    now: Callable[[], float],
    nonce: Callable[[], int],
) -> BulkSubmit:
    return BulkSubmit(
        ports.registry,
        ports.submissions,
        ports.pulls,
        quotas,
        ports.commands,
        Pacing(settings.import_retry_after, settings.export_early_polls, monotonic=time.monotonic),
        key=pull_key(settings.secrets),
        hrefs=hrefs,
        now=now,
        nonce=nonce,
    )
