"""The operations of the API, by area; `ROUTES` is all of them, in the order of the document."""

from __future__ import annotations

from sluice_gateway.fhir.declared import FHIR_ROUTES
from sluice_gateway.routes import (
    account,
    checkup,
    dashboard,
    dead_letters,
    downloads,
    files,
    grants,
    groups,
    imports,
    jobs,
    members,
    messages,
    operations,
    projects,
    schemas,
    sources,
    webhooks,
)
from sluice_gateway.routing import Route

ROUTES: tuple[Route, ...] = (
    *imports.ROUTES,
    *jobs.ROUTES,
    *projects.ROUTES,
    *members.ROUTES,
    *files.ROUTES,
    *downloads.ROUTES,
    *sources.ROUTES,
    *grants.ROUTES,
    *groups.ROUTES,
    *webhooks.ROUTES,
    *dead_letters.ROUTES,
    *checkup.ROUTES,
    *schemas.ROUTES,
    *account.ROUTES,
    *FHIR_ROUTES,
    *dashboard.ROUTES,
    *messages.ROUTES,
    *operations.ROUTES,
)
