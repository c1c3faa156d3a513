"""The CapabilityStatement (FHIR R4): what this server does, made from the tables that do it."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version
from typing import Any

from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_fhir.search_table import Kind, parameters
from sluice_gateway.fhir.audit_events import PARAMETERS, TYPE
from sluice_gateway.fhir.outcomes import FHIR_JSON

BULK_DATA = "http://hl7.org/fhir/uv/bulkdata"
NOT_EXPORTED = f"{BULK_DATA}/Extension/operation-not-supported"
OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"
GROUP_NAME = "name"
"""A search parameter of Group that R5 has and R4 has not."""

# By the names of the extension oauth-uris (SMART App Launch 2.2, "Conformance").
_ENDPOINTS = {
    "authorize": "authorize",
    "token": "token",
    "register": "register",
    "manage": "consents",
    "introspect": "introspect",
    "revoke": "revoke",
}
_MEASURE = "http://hl7.org/fhir/OperationDefinition/Measure-"
# By the type whose operation it is; none: the system's. What HL7 has no definition of names its description.
_OPERATIONS: dict[str, dict[str, str]] = {
    "": {
        "export": f"{BULK_DATA}/OperationDefinition/export",
        "bulk-submit": f"{BULK_DATA}/OperationDefinition/bulk-submit",
        "bulk-submit-status": f"{BULK_DATA}/OperationDefinition/bulk-submit-status",
        "import": "https://github.com/smart-on-fhir/bulk-import/blob/master/import-pnp.md",
    },
    "Patient": {"export": f"{BULK_DATA}/OperationDefinition/patient-export"},
    "Group": {"export": f"{BULK_DATA}/OperationDefinition/group-export"},
    "Measure": {
        "data-requirements": f"{_MEASURE}data-requirements",
        "submit-data": f"{_MEASURE}submit-data",
        "bulk-submit-data": "http://hl7.org/fhir/us/davinci-deqm/OperationDefinition/bulk-submit-data",
    },
}


def capability_statement(base: str, issuer: str, at: datetime) -> dict[str, Any]:
    """Give the statement.

    Parameters
    ----------
    base
        The FHIR API's outside URL.
    issuer
        The authorization server's.
    at
        Since when it is so.
    """
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": at.isoformat(timespec="seconds"),
        "kind": "instance",
        "instantiates": [f"{BULK_DATA}/CapabilityStatement/bulk-data"],
        "software": {"name": "Sluice", "version": version("sluice-gateway")},
        "implementation": {"description": "Sluice", "url": base},
        "fhirVersion": "4.0.1",
        "format": [FHIR_JSON, "json"],
        "implementationGuide": [f"{BULK_DATA}/ImplementationGuide/hl7.fhir.uv.bulkdata"],
        "rest": [
            {
                "mode": "server",
                "security": _security(issuer),
                "resource": [_resource(type_) for type_ in sorted(RESOURCE_TYPES)],
                "interaction": [{"code": "transaction"}, {"code": "batch"}],
                "operation": _operations(""),
            }
        ],
    }


def _security(issuer: str) -> dict[str, Any]:
    endpoints = [
        {"url": name, "valueUri": f"{issuer}/oauth/{path}"} for name, path in sorted(_ENDPOINTS.items())
    ]
    service = {
        "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
        "code": "SMART-on-FHIR",
        "display": "SMART-on-FHIR",
    }
    return {
        "extension": [{"url": OAUTH_URIS, "extension": endpoints}],
        "service": [{"coding": [service], "text": "OAuth 2.0 (see smart-configuration)"}],
    }


def _resource(type_: str) -> dict[str, Any]:
    search = {
        name: parameter.kind.value
        for name, parameter in parameters(type_).items()
        if parameter.kind is not Kind.SPECIAL
    }
    if type_ == "Group":
        search[GROUP_NAME] = Kind.STRING.value
    shown: dict[str, Any] = {
        "type": type_,
        "interaction": [{"code": "read"}, {"code": "vread"}, {"code": "search-type"}],
        "versioning": "versioned",
        "readHistory": False,
        "conditionalRead": "full-support",
        "searchParam": [_parameter(type_, name, kind) for name, kind in sorted(search.items())],
    }
    if type_ == TYPE:
        shown["documentation"] = (
            "With the scope ops/audit the audit trail of this server is read and searched, by"
            f" {', '.join(PARAMETERS)}; otherwise AuditEvents that were stored."
        )
    if type_ in _OPERATIONS:
        shown["operation"] = _operations(type_)
    return shown


def _parameter(type_: str, name: str, kind: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": name, "type": kind}
    if (type_, name) == ("Group", GROUP_NAME):
        # A search finds groups by it, a `_typeFilter` does not take it.
        shown["extension"] = [
            {"url": NOT_EXPORTED, "valueCanonical": f"{BULK_DATA}/CapabilityStatement/bulk-data"}
        ]
    return shown


def _operations(type_: str) -> list[dict[str, str]]:
    return [{"name": name, "definition": definition} for name, definition in _OPERATIONS[type_].items()]
