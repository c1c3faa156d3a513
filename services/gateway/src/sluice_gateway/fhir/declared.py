"""All operations below `/fhir`, in the order of the document."""

from __future__ import annotations

from sluice_gateway.routing import Route

FHIR_ROUTES: tuple[Route, ...] = ()
