"""Which patients a resource is about: the Patient compartment of FHIR R4.

The rules are HL7's CompartmentDefinition for Patient (R4, 4.0.1) with the elements that its search parameters
stand for. A resource is in the compartment of every patient that one of its type's elements refers to; a
patient is in its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

REFERENCES: dict[str, tuple[str, ...]] = {
    "Account": ("subject",),
    "AdverseEvent": ("subject",),
    "AllergyIntolerance": ("patient", "recorder", "asserter"),
    "Appointment": ("participant.actor",),
    "AppointmentResponse": ("actor",),
    "AuditEvent": ("agent.who", "entity.what"),
    "Basic": ("subject", "author"),
    "BodyStructure": ("patient",),
    "CarePlan": ("subject", "activity.detail.performer"),
    "CareTeam": ("subject", "participant.member"),
    "ChargeItem": ("subject",),
    "Claim": ("patient", "payee.party"),
    "ClaimResponse": ("patient",),
    "ClinicalImpression": ("subject",),
    "Communication": ("subject", "sender", "recipient"),
    "CommunicationRequest": ("subject", "sender", "recipient", "requester"),
    "Composition": ("subject", "author", "attester.party"),
    "Condition": ("subject", "asserter"),
    "Consent": ("patient",),
    "Coverage": ("policyHolder", "subscriber", "beneficiary", "payor"),
    "CoverageEligibilityRequest": ("patient",),
    "CoverageEligibilityResponse": ("patient",),
    "DetectedIssue": ("patient",),
    "DeviceRequest": ("subject", "performer"),
    "DeviceUseStatement": ("subject",),
    "DiagnosticReport": ("subject",),
    "DocumentManifest": ("subject", "author", "recipient"),
    "DocumentReference": ("subject", "author"),
    "Encounter": ("subject",),
    "EnrollmentRequest": ("candidate",),
    "EpisodeOfCare": ("patient",),
    "ExplanationOfBenefit": ("patient", "payee.party"),
    "FamilyMemberHistory": ("patient",),
    "Flag": ("subject",),
    "Goal": ("subject",),
    "Group": ("member.entity",),
    "ImagingStudy": ("subject",),
    "Immunization": ("patient",),
    "ImmunizationEvaluation": ("patient",),
    "ImmunizationRecommendation": ("patient",),
    "Invoice": ("subject", "recipient"),
    "List": ("subject", "source"),
    "MeasureReport": ("subject",),
    "Media": ("subject",),
    "MedicationAdministration": ("subject", "performer.actor"),
    "MedicationDispense": ("subject", "receiver"),
    "MedicationRequest": ("subject",),
    "MedicationStatement": ("subject",),
    "MolecularSequence": ("patient",),
    "NutritionOrder": ("patient",),
    "Observation": ("subject", "performer"),
    "Patient": ("link.other",),
    "Person": ("link.target",),
    "Procedure": ("subject", "performer.actor"),
    "Provenance": ("target",),
    "QuestionnaireResponse": ("subject", "author"),
    "RelatedPerson": ("patient",),
    "RequestGroup": ("subject", "action.participant"),
    "ResearchSubject": ("individual",),
    "RiskAssessment": ("subject",),
    "Schedule": ("actor",),
    "ServiceRequest": ("subject", "performer"),
    "Specimen": ("subject",),
    "SupplyDelivery": ("patient",),
    "SupplyRequest": ("deliverTo",),
    "VisionPrescription": ("patient",),
}
"""For each type that can be in a patient's compartment, the elements whose references say so."""

COMPARTMENT_TYPES = frozenset(REFERENCES)
"""The types that can be in a patient's compartment; `Patient` itself is one."""

_PATIENT = re.compile(
    r"(?:(?P<base>.+)/)?Patient/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?"
)


@lru_cache(maxsize=65536)
def patient_id(reference: str, base: str | None = None) -> str | None:
    """Give the id of the patient that a literal reference names, or None.

    Relative references count, and absolute ones at the server `base` (without a slash at its end): a patient
    of another server is not one of ours, though their ids be equal.
    """
    match = _PATIENT.fullmatch(reference)
    if match is None or (match["base"] is not None and match["base"] != base):
        return None
    return match["id"]


def patients_of(resource: dict[str, Any], base: str | None = None) -> tuple[str, ...]:
    """Give the ids of the patients whose compartments a decoded resource is in, in order.

    Elements that do not have R4's shape count for nothing.
    """
    type_, id_ = resource.get("resourceType"), resource.get("id")
    paths = REFERENCES.get(type_, ()) if isinstance(type_, str) else ()
    found = [id_] if type_ == "Patient" and isinstance(id_, str) else []
    for path in paths:
        for element in _elements(resource, path.split(".")):
            found += referenced(element, base)
    return ordered(found)


def referenced(element: Any, base: str | None = None) -> tuple[str, ...]:
    """Give the id of the patient that a Reference names, if it is one and names one."""
    reference = element.get("reference") if isinstance(element, dict) else None
    patient = patient_id(reference, base) if isinstance(reference, str) else None
    return () if patient is None else (patient,)


def _elements(node: Any, names: list[str]) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _elements(item, names)
    elif isinstance(node, dict):
        if not names:
            yield node
        elif names[0] in node:
            yield from _elements(node[names[0]], names[1:])


def ordered(patients: Iterable[str]) -> tuple[str, ...]:
    """Give the distinct patients in their order."""
    return tuple(sorted(set(patients)))
