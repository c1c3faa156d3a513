"""What audit records are about, and how FHIR says that.

An act's type and subtype are codes of the value sets of R4's AuditEvent (`audit-event-type`,
`audit-event-sub-type`), chosen as IHE's Basic Audit Log Patterns do where they have the act.
"""

from __future__ import annotations

from dataclasses import dataclass

Coding = tuple[str, str, str]
"""System, code and display."""

DCM = "http://dicom.nema.org/resources/ontology/DCM"
INTERACTION = "http://hl7.org/fhir/restful-interaction"
LIFECYCLE = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle"
TRANSACTION = "urn:ihe:event-type-code"

REST: Coding = ("http://terminology.hl7.org/CodeSystem/audit-event-type", "rest", "RESTful Operation")
EXPORT: Coding = (DCM, "110106", "Export")
IMPORT: Coding = (DCM, "110107", "Import")
ALERT: Coding = (DCM, "110113", "Security Alert")
AUTHENTICATION: Coding = (DCM, "110114", "User Authentication")
DESTROY: Coding = (LIFECYCLE, "destroy", "Destroy/Delete Record Lifecycle Event")
_ROLES: Coding = (DCM, "110136", "Security Roles Changed")
_ATTRIBUTES: Coding = (DCM, "110137", "User Security Attributes Changed")
_CONFIGURATION: Coding = (DCM, "110131", "Security Configuration")
_DISCLOSE: Coding = (LIFECYCLE, "disclose", "Disclose Record Lifecycle Event")
_RECEIVE: Coding = (LIFECYCLE, "receive", "Receive/Retain Record Lifecycle Event")


def _interaction(code: str) -> Coding:
    return (INTERACTION, code, code)


@dataclass(frozen=True, slots=True)
class Act:
    """One kind of act: its type, a subtype if there is one, and what was done (`audit-event-action`)."""

    type: Coding
    subtype: Coding | None
    action: str


_OPERATION = _interaction("operation")

ACTS: dict[str, Act] = {
    # The authorization server's, by the names of its actions.
    "token": Act(AUTHENTICATION, (TRANSACTION, "ITI-71", "Get Access Token"), "E"),
    "introspect": Act(AUTHENTICATION, (TRANSACTION, "ITI-102", "Introspect Token"), "E"),
    "revoke": Act(AUTHENTICATION, _ATTRIBUTES, "D"),
    "sign-in": Act(AUTHENTICATION, (DCM, "110122", "Login"), "E"),
    "sign-out": Act(AUTHENTICATION, (DCM, "110123", "Logout"), "E"),
    "authorize": Act(AUTHENTICATION, _ATTRIBUTES, "E"),
    "withdraw": Act(ALERT, _ATTRIBUTES, "D"),
    "register": Act(ALERT, _ATTRIBUTES, "C"),
    "read-client": Act(ALERT, _ATTRIBUTES, "R"),
    "update-client": Act(ALERT, _ATTRIBUTES, "U"),
    "remove-client": Act(ALERT, _ATTRIBUTES, "D"),
    "rotate-secret": Act(ALERT, _ATTRIBUTES, "U"),
    "add-user": Act(ALERT, _ATTRIBUTES, "C"),
    "change-password": Act(ALERT, _ATTRIBUTES, "U"),
    "remove-user": Act(ALERT, _ATTRIBUTES, "D"),
    "change-operator": Act(ALERT, _ROLES, "U"),
    "add-operator": Act(ALERT, _ROLES, "C"),
    "rotate-keys": Act(ALERT, _CONFIGURATION, "U"),
    # Servers that are read from, and that are told of jobs.
    "source.register": Act(ALERT, _CONFIGURATION, "C"),
    "source.change": Act(ALERT, _CONFIGURATION, "U"),
    "source.remove": Act(ALERT, _CONFIGURATION, "D"),
    "webhook.register": Act(ALERT, _CONFIGURATION, "C"),
    "webhook.change": Act(ALERT, _CONFIGURATION, "U"),
    "webhook.remove": Act(ALERT, _CONFIGURATION, "D"),
    # Who may see what.
    "grant.give": Act(ALERT, _ROLES, "C"),
    "grant.revoke": Act(ALERT, _ROLES, "D"),
    "group.change": Act(ALERT, _ROLES, "U"),
    "member.change": Act(ALERT, _ROLES, "U"),
    # Jobs.
    "export.begin": Act(EXPORT, _OPERATION, "E"),
    "export.cancel": Act(EXPORT, _OPERATION, "E"),
    "export.delete": Act(REST, _interaction("delete"), "D"),
    "export.purge": Act(DESTROY, None, "D"),
    "bulk-import.begin": Act(IMPORT, _OPERATION, "E"),
    "bulk-import.cancel": Act(IMPORT, _OPERATION, "E"),
    "bulk-import.load": Act(IMPORT, _RECEIVE, "C"),
    "bulk-import.delete": Act(REST, _interaction("delete"), "D"),
    "bulk-import.discard": Act(IMPORT, _OPERATION, "E"),
    "bulk-import.removed": Act(DESTROY, None, "D"),
    "load": Act(IMPORT, _RECEIVE, "C"),
    "document-import.begin": Act(IMPORT, _OPERATION, "E"),
    "document-import.cancel": Act(IMPORT, _OPERATION, "E"),
    "document-import.attach": Act(IMPORT, _RECEIVE, "C"),
    "document-import.purge": Act(DESTROY, None, "D"),
    # What the gateway gives and takes.
    "read": Act(REST, _interaction("read"), "R"),
    "vread": Act(REST, _interaction("vread"), "R"),
    "search": Act(REST, _interaction("search-type"), "E"),
    "disclose": Act(EXPORT, _DISCLOSE, "R"),
    "store": Act(REST, _interaction("transaction"), "E"),
    "file.delete": Act(REST, _interaction("delete"), "D"),
}
"""Every kind of act that there are records of, by the name that a record has it by."""

SUCCESS, DENIED, FAILED = 0, 4, 8
"""Outcomes (`audit-event-outcome`): done; not, because of who asked or for what; refused or failed."""
