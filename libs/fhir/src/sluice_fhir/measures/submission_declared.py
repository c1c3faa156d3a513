"""What `$submit-data` takes, declared once: for reading it and for the API's document."""

from __future__ import annotations

from sluice_fhir.operations import INSTANTS, RESOURCE, URLS, Parameter, Taken

EXPORT_TYPES = ("dynamic", "static")
_REPORT = Parameter(
    "measureReport",
    "Which measure the data are for, by its canonical URL; its `type` is `data-collection`.",
    RESOURCE,
    {
        "resourceType": "MeasureReport",
        "status": "complete",
        "type": "data-collection",
        "measure": "http://example.org/Measure/ed",
    },
    least=1,
    type="MeasureReport",
)
SENT = Taken(
    "SubmitDataParameters",
    "Data for a measure, which are stored at once, all or nothing.",
    (
        _REPORT,
        Parameter(
            "resource",
            "A resource that the report is about.",
            RESOURCE,
            {"resourceType": "Patient", "id": "example"},
            most=None,
        ),
    ),
    usual=("measureReport", "resource"),
)
PULLED = Taken(
    "SubmitDataFromExportParameters",
    "Where data for a measure are to be pulled from, with `Prefer: respond-async`; the measure says which.",
    (
        _REPORT,
        Parameter(
            "exportUrl",
            "The address of an export on a registered source, or of its manifest.",
            URLS,
            "https://fhir.example.org/r4/$export",
            least=1,
        ),
        Parameter(
            "exportType",
            "`dynamic`, the default: the address is asked for an export. `static`: it is a manifest's.",
            ("valueCode", "valueString"),
            "dynamic",
            values=EXPORT_TYPES,
        ),
        Parameter(
            "_since",
            "What changed after this instant; not with a `static` export.",
            INSTANTS,
            "2026-01-31T12:00:00Z",
        ),
        Parameter(
            "useTypeFilters",
            "`false`: the source is asked for all codes, also if it is registered as able to filter.",
            ("valueBoolean",),
            example=False,
        ),
        Parameter(
            "_strict",
            "`true`: report and data are stored in one step, or nothing of them.",
            ("valueBoolean", "valueString"),
            example=True,
            values=("true", "false"),
        ),
    ),
    usual=("measureReport", "exportUrl"),
)
"""With `Prefer: respond-async`."""
