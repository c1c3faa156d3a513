"""A research data set in the manner of NCPI: studies, participants, specimens, conditions and their files.

Participants, specimens and studies carry the keys that the study's own systems know them by, as identifiers
(NCPI FHIR Implementation Guide); documents are sequencing files and reports of a participant.
"""

from __future__ import annotations

import base64
from typing import Any

from sluice_stack.source import rules
from sluice_stack.source.dataset import DataSet, Resource

SOFTWARE = "NCPI research demo server"
STUDY_KEYS = "https://ncpi.example.org/identifiers/study"
PARTICIPANT_KEYS = "https://ncpi.example.org/identifiers/participant"
SPECIMEN_KEYS = "https://ncpi.example.org/identifiers/specimen"
FILE_KEYS = "https://ncpi.example.org/identifiers/file"
_STUDIES = (("SD-001", "Inherited heart disease"), ("SD-002", "Childhood cancers"))
_PARTICIPANTS = 20
_DISEASES = (
    ("MONDO:0005129", "cataract"),
    ("MONDO:0004994", "cardiomyopathy"),
    ("MONDO:0005072", "neuroblastoma"),
)
_TISSUES = (
    ("119297000", "Blood specimen"),
    ("119376003", "Tissue specimen"),
    ("119342007", "Saliva specimen"),
)
_KINDS = (
    ("g.vcf.gz", "application/gzip", "Variant calls"),
    ("cram.crai", "application/octet-stream", "Alignment index"),
    ("report.txt", "text/plain", "Sequencing report"),
)


def load() -> DataSet:
    """Make the data set: 2 studies of 20 participants with 3 documents each."""
    data = DataSet("Research data in the manner of NCPI", SOFTWARE)
    for study, (key, title) in enumerate(_STUDIES):
        data.add(_named("ResearchStudy", key, STUDY_KEYS, key) | {"status": "active", "title": title})
        for number in range(_PARTICIPANTS):
            _participant(data, key, study * _PARTICIPANTS + number)
    return data


def _participant(data: DataSet, study: str, number: int) -> None:
    key = f"PT-{number:04d}"
    patient = f"Patient/{key}"
    gender = ("female", "male", "unknown")[number % 3]
    data.add(_named("Patient", key, PARTICIPANT_KEYS, key) | {"gender": gender})
    data.add(
        _named("ResearchSubject", f"RS-{number:04d}", PARTICIPANT_KEYS, key)
        | {
            "status": "on-study",
            "study": {"reference": f"ResearchStudy/{study}"},
            "individual": {"reference": patient},
        }
    )
    for turn in range(1 + number % 2):
        code, name = _TISSUES[(number + turn) % len(_TISSUES)]
        specimen = f"BS-{number:04d}-{turn}"
        data.add(
            _named("Specimen", specimen, SPECIMEN_KEYS, specimen)
            | {"status": "available", "type": _concept("http://snomed.info/sct", code, name)}
            | {"subject": {"reference": patient}}
        )
    code, name = _DISEASES[number % len(_DISEASES)]
    data.add(
        _named("Condition", f"DX-{number:04d}", PARTICIPANT_KEYS, key)
        | {"code": _concept("http://purl.obolibrary.org/obo/mondo.owl", code, name)}
        | {"subject": {"reference": patient}}
    )
    for turn, kind in enumerate(_KINDS):
        _document(data, study, number, turn, kind)


def _document(data: DataSet, study: str, number: int, turn: int, kind: tuple[str, str, str]) -> None:
    ending, content_type, title = kind
    key = f"GF-{number:04d}-{turn}"
    body = rules.bench_content(500_000 + 10 * number + turn)
    data.add_file(key, body, content_type)
    attachment = {
        "contentType": content_type,
        "url": f"Binary/{key}",
        "size": len(body),
        "hash": base64.b64encode(rules.sha1(body)).decode(),
        "title": f"PT-{number:04d}.{ending}",
    }
    data.add(
        _named("DocumentReference", key, FILE_KEYS, key)
        | {
            "status": "current",
            "docStatus": "final",
            "type": {"text": title},
            "category": [{"text": "Research data file"}],
            "subject": {"reference": f"Patient/PT-{number:04d}"},
            "date": "2026-01-01T00:00:00Z",
            "content": [{"attachment": attachment}],
            "context": {
                "related": [
                    {"reference": f"ResearchStudy/{study}"},
                    {"reference": f"Specimen/BS-{number:04d}-0"},
                ]
            },
        }
    )


def _named(kind: str, name: str, system: str, key: str) -> Resource:
    return {"resourceType": kind, "id": name, "identifier": [{"system": system, "value": key}]}


def _concept(system: str, code: str, display: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}
