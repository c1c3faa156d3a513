"""Audit records as AuditEvents (FHIR R4), by IHE's Basic Audit Log Patterns where one of them fits."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from sluice_contracts.audit import ACTS, AUTHENTICATION, DCM, IMPORT, Act, Coding
from sluice_fhir.fhirpath_model import RESOURCE_TYPES
from sluice_storage.audit.model import Record
from sluice_storage.audit.reading import Written

Json = dict[str, Any]
TYPE = "AuditEvent"
PARAMETERS = ("date", "type", "subtype", "action", "outcome", "agent", "address", "entity", "patient")
"""What the audit trail is searched by, of R4's parameters."""
BALP = "https://profiles.ihe.net/ITI/BALP"
PATTERN = f"{BALP}/StructureDefinition/IHE.BasicAudit."
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_DESTINATION: Coding = (DCM, "110152", "Destination Role ID")
_SOURCE: Coding = (DCM, "110153", "Source Role ID")
_APPLICATION: Coding = (DCM, "110150", "Application")
_AUTHORIZER: Coding = (f"{_TERMINOLOGY}/extra-security-role-type", "authserver", "authorization server")
_USER: Coding = (f"{_TERMINOLOGY}/v3-ParticipationType", "IRCP", "information recipient")
_REQUEST: Coding = (f"{BALP}/CodeSystem/BasicAuditEntityType", "XrequestId", "X-Request-Id")
_PERSON: Coding = (f"{_TERMINOLOGY}/audit-entity-type", "1", "Person")
_SYSTEM: Coding = (f"{_TERMINOLOGY}/audit-entity-type", "2", "System Object")
_ROLES = f"{_TERMINOLOGY}/object-role"
_PATIENT: Coding = (_ROLES, "1", "Patient")
_REPORT: Coding = (_ROLES, "3", "Report")
_RESOURCE: Coding = (_ROLES, "4", "Domain Resource")
_SECURITY: Coding = (_ROLES, "13", "Security Resource")
_JOB: Coding = (_ROLES, "20", "Job")
_QUERY: Coding = (_ROLES, "24", "Query")
_ROLE_OF = {"token": _SECURITY, "grant": _SECURITY, "job": _JOB, "job-file": _REPORT, "pulled-file": _REPORT}
_IP_ADDRESS, _URI = "2", "5"


def audit_event(written: Written, id_: str, base: str) -> Json:
    """Give a record as an AuditEvent.

    Parameters
    ----------
    id_
        The resource's id.
    base
        The FHIR API's outside URL, which the server is named by.
    """
    record = written.record
    act = ACTS[record.act]
    observer = {"display": f"Sluice {written.service}", "identifier": {"value": written.service}}
    security = written.service == "auth"
    event: Json = {
        "resourceType": "AuditEvent",
        "id": id_,
        "meta": {"versionId": "1", "lastUpdated": written.at.isoformat()},
        "type": _coding(act.type),
        "subtype": [
            *([_coding(act.subtype)] if act.subtype is not None else []),
            {"system": f"{base}/CodeSystem/audit-act", "code": record.act},
        ],
        "action": act.action,
        "recorded": written.at.isoformat(),
        "outcome": str(record.outcome),
        "agent": _agents(record, act, base, observer),
        "source": {
            "site": base,
            "observer": observer,
            "type": [_coding((f"{_TERMINOLOGY}/security-source-type", *_kind_of(security)))],
        },
    }
    if record.reason is not None:
        event["outcomeDesc"] = record.reason
    pattern = _pattern(record)
    if pattern is not None:
        event["meta"]["profile"] = [PATTERN + pattern]
    entities = _entities(record)
    if entities:
        event["entity"] = entities
    return event


def _kind_of(security: bool) -> tuple[str, str]:
    return ("6", "Security Server") if security else ("4", "Application Server")


def _pattern(record: Record) -> str | None:
    """Name the pattern that a record fits: patterns are of what succeeded, by a known client."""
    if record.outcome or record.client is None or record.address is None or record.kind not in RESOURCE_TYPES:
        return None
    # One patient: more would take a record for each.
    one = "Patient" if record.patients is not None and len(record.patients) == 1 else ""
    if record.act in ("read", "vread") and record.entity is not None:
        return f"{one}Read"
    return f"{one}Query" if record.act == "search" else None


def _agents(record: Record, act: Act, base: str, observer: Json) -> list[Json]:
    if act.type == AUTHENTICATION:
        theirs, ours = _APPLICATION, _AUTHORIZER
    elif act.type == IMPORT or record.act == "search":
        # What is imported flows to us, and so do the parameters of a query (IHE, Query pattern).
        theirs, ours = _SOURCE, _DESTINATION
    else:
        theirs, ours = _DESTINATION, _SOURCE
    user = record.subject if record.subject != record.client else None
    agents: list[Json] = []
    if record.client is not None or record.address is not None:
        client: Json = {"type": _concept(theirs), "requestor": user is None}
        if record.client is not None:
            client["who"] = {"type": "Device", "identifier": {"value": record.client}}
        if record.address is not None:
            client["network"] = {"address": record.address, "type": _IP_ADDRESS}
        agents.append(client)
    agents.append(
        {
            "type": _concept(ours),
            "who": observer,
            "requestor": not agents and user is None,
            "network": {"address": base, "type": _URI},
        }
    )
    if user is not None:
        agents.append({"type": _concept(_USER), "who": {"identifier": {"value": user}}, "requestor": True})
    return agents


def _entities(record: Record) -> list[Json]:
    entities = [_query(record)] if record.act == "search" else [_what(record, id_) for id_ in _ids(record)]
    counts = [
        {"type": name, "valueString": str(value)}
        for name, value in (("items", record.items), ("bytes", record.bytes))
        if value is not None
    ]
    # A query's entity has no detail in its pattern.
    if counts and entities and record.act != "search":
        entities[0]["detail"] = counts
    if record.job is not None and record.kind != "job":
        entities.append(_entity(_SYSTEM, _JOB, {"identifier": {"value": record.job}}))
    entities += [
        _entity(_PERSON, _PATIENT, {"reference": f"Patient/{patient}"}) for patient in record.patients or ()
    ]
    if record.request is not None:
        asked: Json = {"type": _coding(_REQUEST), "what": {"identifier": {"value": record.request}}}
        if record.trace is not None:
            asked["detail"] = [{"type": "trace", "valueString": record.trace}]
        entities.append(asked)
    return entities


def _ids(record: Record) -> tuple[str, ...]:
    return (*((record.entity,) if record.entity is not None else ()), *(record.ids or ()))


def _what(record: Record, id_: str) -> Json:
    if record.kind in RESOURCE_TYPES:
        what: Json = {"reference": id_ if "/" in id_ else f"{record.kind}/{id_}"}
    elif record.kind == "token":
        what = {"identifier": {"value": f"urn:ietf:params:oauth:jti:{id_}"}}
    else:
        what = {"identifier": {"value": id_}}
    return _entity(_SYSTEM, _ROLE_OF.get(record.kind or "", _RESOURCE), what)


def _query(record: Record) -> Json:
    asked = f"{record.kind or ''}?{'&'.join(record.parameters or ())}"
    return {
        "type": _coding(_SYSTEM),
        "role": _coding(_QUERY),
        "description": asked,
        "query": b64encode(asked.encode()).decode(),
    }


def _entity(type_: Coding, role: Coding, what: Json) -> Json:
    return {"what": what, "type": _coding(type_), "role": _coding(role)}


def _coding(coding: Coding) -> Json:
    system, code, display = coding
    return {"system": system, "code": code, "display": display}


def _concept(coding: Coding) -> Json:
    return {"coding": [_coding(coding)]}
