"""What `$bulk-submit` and `$bulk-submit-status` take (Bulk Data Access 4.0.0, ballot, "Submit").

Declared once, for reading it and for the API's document.
"""

from __future__ import annotations

from enum import StrEnum

from sluice_fhir.operations import PARTS, TEXTS, URLS, Parameter, Taken

MANIFEST, REPLACES, STATUS = "manifestUrl", "replacesManifestUrl", "submissionStatus"
HEADER, KEY, OAUTH = "fileRequestHeader", "fileEncryptionKey", "oauthMetadataUrl"
BASE, NAME, SUBMITTER, METADATA = "fhirBaseUrl", "submissionId", "submitter", "metadata"
FORMATS = ("application/fhir+ndjson", "application/ndjson", "ndjson")
STATUS_SYSTEM = "http://hl7.org/fhir/event-status"
ENCRYPTION = ("http://hl7.org/fhir/uv/bulkdata/ValueSet/file-encryption-type", "jwe")
MOST = 16
"""How often what may be repeated may be there."""


class SubmissionStatus(StrEnum):
    """How a submission stands, as its submitter says."""

    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    STOPPED = "stopped"


_WHOSE = (
    Parameter(
        SUBMITTER,
        "Who submits.",
        ("valueIdentifier",),
        {"system": "https://submitters.example.org", "value": "ward-3"},
        least=1,
    ),
    Parameter(
        NAME, "Which of the submitter's submissions; at most 255 characters.", TEXTS, "2026-01", least=1
    ),
)


def _url(name: str, about: str, example: str, most: int = 1) -> Parameter:
    return Parameter(name, about, URLS, example, most=most)


SUBMITTED = Taken(
    "BulkSubmitParameters",
    "A manifest of data, or how a submission stands: one of `manifestUrl` and `submissionStatus` at least.",
    (
        *_WHOSE,
        Parameter(
            STATUS,
            "How the submission stands; without it, it is in progress.",
            ("valueCoding", "valueCode", "valueString"),
            {"system": STATUS_SYSTEM, "code": SubmissionStatus.IN_PROGRESS.value},
            values=tuple(SubmissionStatus),
        ),
        _url(MANIFEST, "A manifest, on a registered source.", "https://fhir.example.org/r4/manifests/1.json"),
        _url(
            BASE,
            f"What references in the manifest's files are relative to; required with `{MANIFEST}`.",
            "https://fhir.example.org/r4",
        ),
        _url(
            REPLACES,
            "A manifest of this submission: what it brought is taken back.",
            "https://fhir.example.org/r4/manifests/0.json",
        ),
        Parameter(
            HEADER,
            "A header field that manifest and files are asked for with; the source's operators permit which.",
            PARTS,
            most=MOST,
            parts=(
                Parameter("headerName", "Its name.", TEXTS, "X-Tenant", least=1),
                Parameter("headerValue", "Its value.", TEXTS, "ward-3", least=1),
            ),
        ),
        Parameter(
            KEY,
            "Delivers the key that manifest and files are encrypted with.",
            PARTS,
            parts=(
                Parameter(
                    "coding",
                    "How it is delivered.",
                    ("valueCoding",),
                    dict(zip(("system", "code"), ENCRYPTION, strict=True)),
                    values=ENCRYPTION[1:],
                ),
                Parameter(
                    "value",
                    "The key in a JSON Web Encryption, in its compact form, for a key of this server.",
                    TEXTS,
                    "header.key.iv.ciphertext.tag",
                    least=1,
                ),
            ),
        ),
        _url(
            OAUTH,
            "The files' authorization server. Tokens are got as is registered for the source.",
            "https://auth.example.org/.well-known/oauth-authorization-server",
            MOST,
        ),
        Parameter("outputFormat", "How files are written.", TEXTS, FORMATS[0], values=FORMATS),
        Parameter(METADATA, "Accepted and not kept.", PARTS, most=None),
    ),
    usual=(SUBMITTER, NAME, STATUS, MANIFEST, BASE),
)
ASKED = Taken(
    "BulkSubmitStatusParameters",
    "Which submission is asked about.",
    (*_WHOSE, Parameter("_outputFormat", "How files are written.", TEXTS, FORMATS[0], values=FORMATS)),
    usual=(SUBMITTER, NAME),
)
