"""All operations below `/fhir`, in the order of the document."""

from __future__ import annotations

from sluice_gateway.fhir import (
    routes_exports,
    routes_imports,
    routes_measures,
    routes_metadata,
    routes_read,
    routes_submissions,
)
from sluice_gateway.routing import Route

# The first that matches is taken: what reads `{type}/{id}` comes after everything that has a name of its own.
FHIR_ROUTES: tuple[Route, ...] = (
    *routes_metadata.ROUTES,
    *routes_exports.ROUTES,
    *routes_imports.ROUTES,
    *routes_submissions.ROUTES,
    *routes_measures.ROUTES,
    *routes_read.ROUTES,
)
