"""A small data set with nothing special about it: what any R4 server would have."""

from __future__ import annotations

import base64

from sluice_stack.source import rules
from sluice_stack.source.dataset import DataSet

SOFTWARE = "Generic R4 demo server"
_PATIENTS = 10
_DOCUMENTS = 40


def load() -> DataSet:
    """Make the data set: 10 patients and 40 documents, inline and by URL by turns."""
    data = DataSet("A generic R4 server", SOFTWARE)
    data.add({"resourceType": "Organization", "id": "generic-organization", "name": "General Hospital"})
    data.add({"resourceType": "Practitioner", "id": "generic-practitioner", "name": [{"family": "Practice"}]})
    for number in range(_PATIENTS):
        data.add(
            {
                "resourceType": "Patient",
                "id": f"generic-patient-{number}",
                "gender": ("female", "male")[number % 2],
                "birthDate": f"19{60 + number}-01-01",
                "name": [{"family": f"Generic{number}", "given": ["Pat"]}],
            }
        )
    for number in range(_DOCUMENTS):
        _document(data, number)
    return data


def _document(data: DataSet, number: int) -> None:
    name = f"generic-{number:03d}"
    body = rules.bench_content(900_000 + number)
    attachment: dict[str, object] = {
        "contentType": "text/plain",
        "title": f"{name}.txt",
        "size": len(body),
        "hash": base64.b64encode(rules.sha1(body)).decode(),
    }
    if number % 2:
        data.add_file(name, body, "text/plain")
        attachment["url"] = f"Binary/{name}"
    else:
        attachment["data"] = base64.b64encode(body).decode()
    data.add(
        {
            "resourceType": "DocumentReference",
            "id": name,
            "status": "current",
            "type": {
                "coding": [{"system": "http://loinc.org", "code": "18842-5", "display": "Discharge summary"}]
            },
            "subject": {"reference": f"Patient/generic-patient-{number % _PATIENTS}"},
            "author": [{"reference": "Practitioner/generic-practitioner"}],
            "custodian": {"reference": "Organization/generic-organization"},
            "date": "2026-01-01T00:00:00Z",
            "content": [{"attachment": attachment}],
        }
    )
