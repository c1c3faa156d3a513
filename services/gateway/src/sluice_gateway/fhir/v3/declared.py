"""A kick-off's parameters, declared once: for reading them in both forms, and for the API's document."""

from __future__ import annotations

from sluice_contracts.exports import Associated
from sluice_fhir.operations import INSTANTS, TEXTS, Json, Parameter, Taken

FORMATS = ("application/fhir+ndjson", "application/ndjson", "ndjson")
ORGANIZED = "Patient"
_SEVERAL = "Repeated, or a list with commas."
_USUAL = ("_type", "_since", "_typeFilter")

PARAMETERS = (
    Parameter("_outputFormat", "How files are written.", TEXTS, FORMATS[0], values=FORMATS),
    Parameter("_since", "What changed after this instant.", INSTANTS, "2026-01-31T12:00:00Z"),
    Parameter("_until", "What changed up to this instant.", INSTANTS, "2026-02-28T12:00:00Z"),
    Parameter(
        "_type", f"Only these resource types. {_SEVERAL}", TEXTS, example="Patient,Observation", most=None
    ),
    Parameter(
        "_typeFilter",
        f"Searches, `Type?name=value`: of these types only what one of them finds. {_SEVERAL}",
        TEXTS,
        "Observation?category=laboratory",
        most=None,
    ),
    Parameter(
        "_elements",
        f"Only these root elements, `element` or `Type.element`. {_SEVERAL}",
        TEXTS,
        "id,Patient.name",
        most=None,
    ),
    Parameter(
        "includeAssociatedData",
        f"{' or '.join(f'`{each}`' for each in Associated)}. {_SEVERAL}",
        TEXTS,
        str(Associated.LATEST_PROVENANCE),
        most=None,
    ),
    Parameter(
        "organizeOutputBy",
        f"`{ORGANIZED}`: one patient's data after the other's.",
        TEXTS,
        ORGANIZED,
        values=(ORGANIZED,),
    ),
    Parameter(
        "allowPartialManifests",
        "`true`: files are listed while others are still written.",
        ("valueBoolean",),
        example=True,
    ),
)
"""Those of every level, which an address may have as well."""

PATIENT = Parameter(
    "patient",
    "Only this patient, of those that the level has. Repeated for more.",
    ("valueReference",),
    {"reference": "Patient/example"},
    most=None,
)
OF_SYSTEM = Taken("SystemExportParameters", "What is to be exported.", PARAMETERS, _USUAL)
OF_PATIENTS = Taken(
    "PatientExportParameters",
    "What is to be exported, and of whom.",
    (*PARAMETERS, PATIENT),
    (*_USUAL, PATIENT.name),
)
FORMS = {each.name: each.forms for each in OF_PATIENTS.parameters}
"""All of them, and the elements that may hold their values in a Parameters resource."""


def in_address(parameter: Parameter) -> Json:
    """Say what a parameter is in an address: the usual form of its value, or a list of such."""
    value = parameter.value(parameter.forms[0])
    return {
        "name": parameter.name,
        "in": "query",
        "required": False,
        "description": parameter.about,
        "schema": value if parameter.most == 1 else {"type": "array", "items": value},
    }
