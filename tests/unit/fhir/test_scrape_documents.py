"""Scraping: what documents and what they refer to yield, also when both are hostile."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sluice_contracts.errors import ItemError
from sluice_fhir.scrape import Scraped, Scraper, open_document, with_callers
from sluice_fhir.scrape_match import SchemaSet
from sluice_fhir.scrape_plan import Plan
from sluice_fhir.scrape_run import MAX_READS
from sluice_security.failure import SourceFailure
from support.scrape_source import BASE, SCHEMAS, MemorySource, bundle, document, plan_of

SHIPPED = SchemaSet.load(SCHEMAS)
PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "gender": "female",
    "birthDate": "1980-05-17",
}


async def scrape(
    plan: Plan,
    resource: dict[str, Any] | bytes,
    source: MemorySource,
    scraper: Scraper | None = None,
    *,
    job: str = "job",
    **options: Any,
) -> Scraped:
    body = resource if isinstance(resource, bytes) else msgspec.json.encode(resource)
    opened = open_document(plan, body)
    return await (scraper or Scraper()).scrape(plan, opened, source, BASE, scope=job, **options)


def _follow_patient(**value: Any) -> Plan:
    return plan_of(
        {
            "follow": {"patient": {"reference": "subject", "type": "Patient"}},
            "values": [{"key": "gender", "from": "patient", "path": "gender", **value}],
        }
    )


async def test_a_synthea_document_yields_its_patient_encounter_author_and_organization() -> None:
    source = MemorySource(
        {
            **PATIENT,
            "extension": [
                {
                    "url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race",
                    "extension": [
                        {"url": "ombCategory", "valueCoding": {"code": "2106-3", "display": "White"}},
                        {"url": "text", "valueString": "White"},
                    ],
                }
            ],
            "deceasedDateTime": "2021-01-01T00:00:00Z",
            "address": [{"state": "MA", "country": "US"}],
        },
        {
            "resourceType": "Encounter",
            "id": "e1",
            "class": {"code": "AMB"},
            "type": [{"text": "Check up"}],
            "period": {"start": "2020-05-17T09:00:00-04:00"},
        },
        {
            "resourceType": "Practitioner",
            "id": "a1",
            "identifier": [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "99"}],
            "name": [{"family": "Curie", "given": ["Marie", "S"], "prefix": ["Dr."]}],
        },
        {"resourceType": "Organization", "id": "o1", "name": "Hospital", "address": [{"state": "MA"}]},
    )
    made = await scrape(
        SHIPPED.get("synthea"),
        document(
            type={"coding": [{"system": "http://loinc.org", "code": "34117-2", "display": "Note"}]},
            subject={"reference": "Patient/p1"},
            date="2020-05-16T10:00:00Z",
            author=[{"reference": "Practitioner/a1", "display": "Dr. Curie"}],
            custodian={"reference": "Organization/o1"},
            context={"encounter": [{"reference": "Encounter/e1"}]},
            content=[{"attachment": {"contentType": "text/plain", "data": "QUJD"}}],
        ),
        source,
    )
    assert made.missing == ()
    assert made.schema.startswith("synthea@")
    assert made.metadata == {
        "document_id": "d1",
        "document_status": "current",
        "document_type": "Note",
        "document_type_code": "34117-2",
        "document_date": "2020-05-16T10:00:00Z",
        "content_type": "text/plain",
        "patient_id": "p1",
        "gender": "Female",
        "age_at_document": 39,
        "race": "White",
        "patient_state": "MA",
        "patient_country": "US",
        "vital_status": "Dead",
        "encounter_id": "e1",
        "encounter_class": "Ambulatory",
        "encounter_type": "Check up",
        "encounter_start": "2020-05-17T09:00:00-04:00",
        "author": "Dr. Marie S Curie",
        "author_npi": "99",
        "organization": "Hospital",
        "organization_state": "MA",
    }


def _ncpi_source() -> MemorySource:
    source = MemorySource(
        {
            "resourceType": "Patient",
            "id": "p1",
            "identifier": [
                {"system": "urn:kids-first:unique-string", "value": "Patient|SD_1|x"},
                {"use": "official", "system": "https://kf/participants/", "value": "PT_1"},
            ],
            "gender": "male",
            "deceasedBoolean": False,
        },
        {"resourceType": "ResearchStudy", "id": "s1", "title": "A study", "identifier": [{"value": "SD_1"}]},
    )
    source.put(
        "Specimen?subject=Patient/p1&_count=10",
        bundle(
            {
                "resourceType": "Specimen",
                "id": "b1",
                "identifier": [{"use": "official", "value": "BS_1"}],
                "type": {"text": "DNA"},
                "meta": {"tag": [{"system": "urn:kids_first_tissue_type", "code": "Tumor"}]},
                "collection": {"bodySite": {"text": "Brain"}},
            },
            {"resourceType": "Specimen", "id": "b2", "identifier": [{"use": "official", "value": "BS_2"}]},
        ),
    )
    days = {"url": "offset", "valueDuration": {"value": 1234, "unit": "d"}}
    relative = {"url": "http://hl7.org/fhir/StructureDefinition/cqf-relativeDateTime", "extension": [days]}
    source.put(
        "Condition?subject=Patient/p1&_count=10",
        bundle(
            {
                "resourceType": "Condition",
                "id": "c1",
                "code": {"text": "Glioma", "coding": [{"code": "MONDO:1"}]},
                "_recordedDate": {"extension": [relative]},
            }
        ),
    )
    source.put(
        "ResearchSubject?individual=Patient/p1&_count=1",
        bundle({"resourceType": "ResearchSubject", "id": "r1", "study": {"reference": "ResearchStudy/s1"}}),
    )
    return source


async def test_a_research_document_yields_study_participant_specimens_and_diagnosis() -> None:
    made = await scrape(
        SHIPPED.get("ncpi-research"),
        document(
            identifier=[{"use": "official", "value": "GF_1"}],
            type={"text": "Aligned Reads"},
            subject={"reference": "Patient/p1"},
        ),
        _ncpi_source(),
    )
    assert made.missing == ()
    assert made.metadata == {
        "file_id": "GF_1",
        "data_type": "Aligned Reads",
        "study_id": "SD_1",
        "investigation": "A study",
        "case_id": "PT_1",
        "gender": "Male",
        "vital_status": "Alive",
        "sample_id": ["BS_1", "BS_2"],
        "sample_type": "DNA",
        "tissue_type": "Tumor",
        "primary_site": "Brain",
        "diagnosis": ["Glioma"],
        "disease_type": "Glioma",
        "diagnosis_code": ["MONDO:1"],
        "age_at_diagnosis_days": 1234,
    }


async def test_a_follow_is_not_read_when_the_one_it_stands_in_for_found_something() -> None:
    source = _ncpi_source()
    source.put("Specimen/b9", {"resourceType": "Specimen", "id": "b9"})
    related = [{"reference": "Specimen/b9"}, {"reference": "ResearchStudy/s1"}]
    made = await scrape(
        SHIPPED.get("ncpi-research"),
        document(subject={"reference": "Patient/p1"}, context={"related": related}),
        source,
    )
    assert made.metadata["sample_id"] == ["b9"]
    assert made.metadata["study_id"] == "SD_1"
    assert not [place for place in source.reads if place.startswith(("Specimen?", "ResearchSubject?"))]


async def test_a_generic_document_yields_what_it_says_itself_when_nothing_else_is_there() -> None:
    made = await scrape(
        SHIPPED.get("generic-r4"),
        document(type={"text": "Letter"}, subject={"reference": "Patient/p1"}, date="2020-01-01"),
        MemorySource(),
    )
    assert made.metadata == {
        "document_id": "d1",
        "document_status": "current",
        "document_type": "Letter",
        "document_date": "2020-01-01",
        "patient_id": "p1",
    }
    assert made.missing == ()


async def test_what_a_jobs_documents_refer_to_in_common_is_read_once_per_job() -> None:
    source, scraper, plan = MemorySource(PATIENT), Scraper(), _follow_patient()
    resource = document(subject={"reference": "Patient/p1"})
    made = [await scrape(plan, resource, source, scraper) for _ in range(50)]
    assert {one.metadata["gender"] for one in made} == {"female"}
    assert source.reads == ["Patient/p1"]
    await scrape(plan, resource, source, scraper, job="another")
    assert len(source.reads) == 2


async def test_one_resource_that_two_follows_lead_to_is_read_once() -> None:
    plan = plan_of(
        {
            "follow": {
                "author": {"reference": "author", "type": ["Organization", "Practitioner"]},
                "custodian": {"reference": "custodian", "type": "Organization"},
            },
            "values": [
                {"key": "author", "from": "author", "path": "name"},
                {"key": "custodian", "from": "custodian", "path": "name"},
            ],
        }
    )
    source = MemorySource({"resourceType": "Organization", "id": "o1", "name": "Hospital"})
    reference = {"reference": "Organization/o1"}
    made = await scrape(plan, document(author=[reference], custodian=reference), source)
    assert made.metadata == {"author": "Hospital", "custodian": "Hospital"}
    assert source.reads == ["Organization/o1"]


async def test_resolve_in_an_expression_follows_the_reference() -> None:
    path = "subject.resolve().ofType(Patient).managingOrganization.resolve().ofType(Organization).name"
    plan = plan_of({"values": [{"key": "hospital", "path": path}]})
    source = MemorySource(
        {**PATIENT, "managingOrganization": {"reference": "Organization/o1"}},
        {"resourceType": "Organization", "id": "o1", "name": "Hospital"},
    )
    made = await scrape(plan, document(subject={"reference": "Patient/p1"}), source)
    assert made.metadata == {"hospital": "Hospital"}


async def test_missing_values_are_left_out_and_required_ones_are_named() -> None:
    plan = plan_of(
        {
            "values": [
                {"key": "optional", "path": "description"},
                {"key": "required", "path": "docStatus", "required": True},
                {"key": "standing", "path": "docStatus", "required": True, "default": "final"},
            ]
        }
    )
    made = await scrape(plan, document(), MemorySource())
    assert made.metadata == {"standing": "final"}
    assert made.missing == ("required",)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_reference_that_cannot_be_read_makes_its_values_missing(status: int) -> None:
    source, scraper = MemorySource(), Scraper()
    source.failures["Patient/p1"] = SourceFailure(ItemError.SOURCE_REFUSED, status)
    plan = _follow_patient(required=True)
    for _ in range(2):
        made = await scrape(plan, document(subject={"reference": "Patient/p1"}), source, scraper)
        assert (made.metadata, made.missing) == ({}, ("gender",))
    assert source.reads == ["Patient/p1"], "that it is not there is remembered too"


async def test_what_may_be_read_later_is_raised_and_asked_for_again() -> None:
    source, scraper, plan = MemorySource(PATIENT), Scraper(), _follow_patient(required=True)
    source.failures["Patient/p1"] = SourceFailure(ItemError.SOURCE_THROTTLED, 429, retry=True, after=7.0)
    resource = document(subject={"reference": "Patient/p1"})
    with pytest.raises(SourceFailure) as caught:
        await scrape(plan, resource, source, scraper)
    assert caught.value.after == 7.0
    settled = await scrape(plan, resource, source, scraper, settle=True)
    assert settled.missing == ("gender",)
    source.failures.clear()
    assert (await scrape(plan, resource, source, scraper)).metadata == {"gender": "female"}


@pytest.mark.parametrize(
    "reference",
    [
        "https://evil.example/r4/Patient/p1",
        "https://fhir.example.org.evil.example/r4/Patient/p1",
        "http://fhir.example.org/r4/Patient/p1",
        "https://fhir.example.org/other/Patient/p1",
        "https://user@fhir.example.org/r4/Patient/p1",
        "//evil.example/Patient/p1",
        "Patient/..",
        "Patient/.",
        "Patient/../../secret",
        "Patient/p1?x=https://evil.example",
        "Patient/p1#x",
        "patient/p1",
        "Group/p1",
        "urn:uuid:3f0f7ac7-0b3c-4b1e-9f6c-8d1a4d3f9f65",
        "file:///etc/passwd",
        "Patient/" + "a" * 65,
        "Patient/é",
        "",
        "#",
        "#nobody",
        5,
        None,
        ["Patient/p1"],
        {"reference": "Patient/p1"},
    ],
)
async def test_a_reference_that_leads_elsewhere_or_nowhere_is_not_read(reference: Any) -> None:
    source = MemorySource(PATIENT)
    made = await scrape(_follow_patient(required=True), document(subject={"reference": reference}), source)
    assert (made.metadata, made.missing, source.reads) == ({}, ("gender",), [])


@pytest.mark.parametrize(
    "reference", [f"{BASE}/Patient/p1", "https://FHIR.example.org:443/r4/Patient/p1", "Patient/p1"]
)
async def test_a_reference_to_the_source_itself_is_read(reference: str) -> None:
    source = MemorySource(PATIENT)
    made = await scrape(_follow_patient(), document(subject={"reference": reference}), source)
    assert made.metadata == {"gender": "female"}
    assert source.reads == ["Patient/p1"]


@pytest.mark.parametrize(
    ("found", "metadata"), [((), {}), ((PATIENT,), {"gender": "female"}), ((PATIENT, PATIENT), {})]
)
async def test_a_conditional_reference_counts_only_if_it_finds_exactly_one(
    found: tuple[dict[str, Any], ...], metadata: dict[str, Any]
) -> None:
    source = MemorySource()
    source.put("Patient?identifier=http://x%7C1&_count=2", bundle(*found))
    subject = {"reference": "Patient?identifier=http://x|1"}
    made = await scrape(_follow_patient(), document(subject=subject), source)
    assert made.metadata == metadata
    assert len(source.reads) == 1


async def test_a_contained_resource_is_taken_from_its_container_and_never_read() -> None:
    source = MemorySource()
    contained = [{**PATIENT, "id": "inside"}, {"resourceType": "Group", "id": "g"}]
    plan = _follow_patient()
    made = await scrape(plan, document(subject={"reference": "#inside"}, contained=contained), source)
    assert made.metadata == {"gender": "female"}
    made = await scrape(plan, document(subject={"reference": "#g"}, contained=contained), source)
    assert made.metadata == {}
    assert source.reads == []


def _chain(hops: int) -> Plan:
    follow: dict[str, Any] = {"f0": {"reference": "custodian", "type": "Organization"}}
    for hop in range(1, hops):
        follow[f"f{hop}"] = {"from": f"f{hop - 1}", "reference": "partOf", "type": "Organization"}
    values = [{"key": f"k{hop}", "from": f"f{hop}", "path": "name"} for hop in range(hops)]
    return plan_of({"follow": follow, "values": values})


async def test_references_in_a_circle_are_followed_as_far_as_the_schema_goes_and_read_once() -> None:
    source = MemorySource(
        {"resourceType": "Organization", "id": "a", "name": "A", "partOf": {"reference": "Organization/b"}},
        {"resourceType": "Organization", "id": "b", "name": "B", "partOf": {"reference": "Organization/a"}},
    )
    made = await scrape(_chain(5), document(custodian={"reference": "Organization/a"}), source)
    assert list(made.metadata.values()) == ["A", "B", "A", "B", "A"]
    assert source.reads == ["Organization/a", "Organization/b"]


async def test_contained_resources_in_a_circle_come_to_an_end() -> None:
    contained = [
        {"resourceType": "Organization", "id": "a", "name": "A", "partOf": {"reference": "#b"}},
        {"resourceType": "Organization", "id": "b", "name": "B", "partOf": {"reference": "#a"}},
    ]
    made = await scrape(
        _chain(4), document(custodian={"reference": "#a"}, contained=contained), MemorySource()
    )
    assert list(made.metadata.values()) == ["A", "B", "A", "B"]


async def test_a_document_with_a_million_references_reads_no_more_than_its_limit() -> None:
    plan = plan_of(
        {
            "follow": {"specimen": {"reference": "context.related", "type": "Specimen", "limit": 50}},
            "values": [{"key": "ids", "from": "specimen", "path": "id", "type": "array"}],
        }
    )
    source = MemorySource(*({"resourceType": "Specimen", "id": f"s{n}"} for n in range(60)))
    related = [{"reference": f"Specimen/s{n}"} for n in range(60)] * 1000
    made = await scrape(plan, document(context={"related": related}), source)
    assert made.metadata["ids"] == [f"s{n}" for n in range(MAX_READS)]
    assert len(source.reads) == MAX_READS


async def test_the_same_reference_many_times_is_one_resource() -> None:
    plan = plan_of(
        {
            "follow": {"specimen": {"reference": "context.related", "type": "Specimen", "limit": 50}},
            "values": [{"key": "ids", "from": "specimen", "path": "id", "type": "array"}],
        }
    )
    source = MemorySource({"resourceType": "Specimen", "id": "s"})
    related = [{"reference": "Specimen/s"}] * 30
    assert (await scrape(plan, document(context={"related": related}), source)).metadata == {"ids": ["s"]}
    assert source.reads == ["Specimen/s"]


def _deep(levels: int) -> bytes:
    nest = b'{"a":' * levels + b"1" + b"}" * levels
    return b'{"resourceType":"DocumentReference","id":"d1","type":' + nest + b',"status":"current"}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"<html>",
        b"\xff\xfe",
        b'{"resourceType":"Patient"}',
        b'{"resourceType":["DocumentReference"]}',
        b'{"resourceType":"DocumentReference","type":1e999}',
        _deep(100_000),
        b"[" * 100_000,
    ],
)
async def test_a_body_that_is_no_document_yields_nothing_and_never_fails(body: bytes) -> None:
    plan = plan_of(
        {
            "values": [
                {"key": "t", "path": "type.text", "required": True},
                {"key": "s", "path": "id", "default": "?"},
            ]
        }
    )
    made = await scrape(plan, body, MemorySource())
    assert (made.metadata, made.missing) == ({"s": "?"}, ("t",))


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "text", "subject": [], "content": {}, "context": 5, "date": {"x": 1}, "author": "me"},
        {"type": [[[]]], "subject": [{"reference": {}}], "content": [[{}], "x", None, {"attachment": []}]},
        {"content": [{"attachment": {"contentType": ["a"], "data": 5}}] * 1000, "category": [None, 1, {}]},
        {"id": {"x": 1}, "status": ["current"], "identifier": "x", "meta": [], "contained": {"a": 1}},
        {"extension": [None, {"url": None}], "_date": [None, "x"], "subject": {"reference": "#a"}},
        {"contained": [None, [], {"id": "a", "resourceType": {}}], "subject": {"reference": "#a"}},
    ],
)
@pytest.mark.parametrize("name", ["generic-r4", "synthea", "ncpi-research"])
async def test_elements_of_the_wrong_form_are_missing_and_never_an_error(
    name: str, fields: dict[str, Any]
) -> None:
    made = await scrape(SHIPPED.get(name), document(**fields), MemorySource())
    for value in made.metadata.values():
        assert isinstance(value, str | int | float | list)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"resourceType":"Group","id":"p1"}', b'{"resourceType":5}', _deep(5)]
)
async def test_a_followed_body_of_another_kind_is_missing(body: bytes) -> None:
    source = MemorySource()
    source.put("Patient/p1", body)
    made = await scrape(_follow_patient(required=True), document(subject={"reference": "Patient/p1"}), source)
    assert made.missing == ("gender",)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"resourceType":"Bundle"}',
        b'{"resourceType":"Bundle","entry":5}',
        b'{"resourceType":"Bundle","entry":[{},{"resource":null},{"resource":{"resourceType":"Group"}}]}',
    ],
)
async def test_a_search_that_finds_nothing_of_its_type_is_missing(body: bytes) -> None:
    source = _ncpi_source()
    source.put("Specimen?subject=Patient/p1&_count=10", body)
    made = await scrape(SHIPPED.get("ncpi-research"), document(subject={"reference": "Patient/p1"}), source)
    assert made.missing == ("sample_id",)


async def test_inline_content_is_passed_over_and_what_is_beside_it_is_found() -> None:
    plan = plan_of(
        {
            "values": [
                {"key": "type", "path": "content.attachment.contentType"},
                {"key": "size", "path": "content.attachment.size", "type": "integer"},
                {"key": "format", "path": "content.format.code"},
            ]
        }
    )
    attachment = {"data": "QUJD" * 500_000, "contentType": "text/plain", "size": 3}
    resource = document(content=[{"attachment": attachment, "format": {"code": "f"}}])
    opened = plan.document.decode(msgspec.json.encode(resource))
    assert opened is not None
    assert "data" not in opened["content"][0]["attachment"]
    made = await scrape(plan, resource, MemorySource())
    assert made.metadata == {"type": "text/plain", "size": 3, "format": "f"}


async def test_an_expression_that_asks_for_inline_content_gets_it() -> None:
    plan = plan_of(
        {"values": [{"key": "inline", "path": "content.attachment.data.exists()", "type": "boolean"}]}
    )
    made = await scrape(plan, document(content=[{"attachment": {"data": "QUJD"}}]), MemorySource())
    assert made.metadata == {"inline": True}


async def test_texts_of_every_script_arrive_whole() -> None:
    for text in ("名前", "שלום", "👩‍⚕️", "Å", "ﬀ"):
        plan = plan_of({"values": [{"key": "ключ", "path": "description"}]})
        made = await scrape(plan, document(description=text), MemorySource())
        assert list(made.metadata) == ["ключ"]
        assert made.metadata["ключ"] in (text, "Å")


def _scraped(count: int, missing: tuple[str, ...] = ()) -> Scraped:
    return Scraped({f"k{number}": number for number in range(count)}, missing, "s@1.0.0")


def test_the_callers_values_win_and_fill_what_is_missing() -> None:
    merged = with_callers(_scraped(2, ("need",)), {"k1": None, "need": "given", "own": ["a"]})
    assert merged.metadata == {"k0": 0, "k1": None, "need": "given", "own": ["a"]}
    assert merged.missing == ()


def test_beyond_the_limit_scraped_keys_are_dropped_and_the_callers_never() -> None:
    merged = with_callers(_scraped(500), {f"own{number}": "x" for number in range(700)})
    assert len(merged.metadata) == 1000
    assert merged.dropped == tuple(f"k{number}" for number in range(300, 500))


async def test_the_same_inputs_twice_give_the_same_result() -> None:
    resource = document(subject={"reference": "Patient/p1"}, identifier=[{"value": "GF"}])
    one, two = [await scrape(SHIPPED.get("ncpi-research"), resource, _ncpi_source()) for _ in range(2)]
    assert one == two
