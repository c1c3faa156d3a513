"""Which schema a source gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from sluice_fhir.scrape_match import Capability, SchemaSet, UnknownSchemaError, read_capability
from support.scrape_source import SCHEMAS, plan_of


@dataclass(frozen=True)
class Source:
    base_url: str = "https://fhir.example.org/r4"
    scrape_schema: str | None = None


def _set(**matches: Any) -> SchemaSet:
    plans = [plan_of({"name": "any", "values": [{"key": "k", "path": "id"}]})]
    for name, match in matches.items():
        title = name.replace("_", "-")
        plans.append(plan_of({"name": title, "match": match, "values": [{"key": "k", "path": "id"}]}))
    return SchemaSet(plans)


def _chosen(schemas: SchemaSet, base_url: str, capability: Capability | None = None) -> str:
    return schemas.for_source(Source(base_url), capability).schema.name


@pytest.mark.parametrize(
    ("base_url", "capability", "name"),
    [
        ("https://fhir.example.org/r4", None, "generic-r4"),
        ("https://fhir.example.org/r4", Capability("Synthea demo server", "4.0.1"), "synthea"),
        ("https://kf-api-fhir-service.kidsfirstdrc.org", None, "ncpi-research"),
        ("https://kf-api-fhir-service.kidsfirstdrc.org", Capability("Synthea", "4.0.1"), "ncpi-research"),
        ("https://kidsfirstdrc.org.evil.example", None, "generic-r4"),
        ("https://fhir.example.org/r4", Capability("NCPI research demo server", "4.0.1"), "ncpi-research"),
    ],
)
def test_shipped_schemas_are_matched(base_url: str, capability: Capability | None, name: str) -> None:
    assert _chosen(SchemaSet.load(SCHEMAS), base_url, capability) == name


def test_an_operators_choice_wins_over_every_match() -> None:
    schemas = SchemaSet.load(SCHEMAS)
    source = Source("https://kf-api-fhir-service.kidsfirstdrc.org", "generic-r4")
    assert schemas.for_source(source).schema.name == "generic-r4"
    assert not schemas.needs_capability(source)


def test_a_choice_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(UnknownSchemaError):
        SchemaSet.load(SCHEMAS).for_source(Source(scrape_schema="nope"))


def test_the_longer_base_url_wins() -> None:
    schemas = _set(short={"base_urls": ["https://x.org"]}, long={"base_urls": ["https://x.org/fhir"]})
    assert _chosen(schemas, "https://x.org/fhir/r4") == "long"
    assert _chosen(schemas, "https://x.org/fhirx") == "short"
    assert _chosen(schemas, "https://x.org:8443/fhir") == "any"
    assert _chosen(schemas, "http://x.org/fhir") == "any"


def test_all_conditions_of_a_match_must_hold_and_one_alternative_suffices() -> None:
    both = {"software": ["HAPI*"], "fhir_versions": ["4.*"]}
    schemas = _set(hapi=both, either=[{"software": ["Firely"]}, {"fhir_versions": ["5.*"]}])
    base = "https://x.org"
    assert _chosen(schemas, base, Capability("hapi fhir server", "4.0.1")) == "hapi"
    assert _chosen(schemas, base, Capability("HAPI FHIR Server", "3.0.2")) == "any"
    assert _chosen(schemas, base, Capability("HAPI FHIR Server", None)) == "any"
    assert _chosen(schemas, base, Capability(None, "5.0.0")) == "either"
    assert _chosen(schemas, base, Capability("firely", "4.0.1")) == "either"


def test_a_tie_is_broken_by_priority_then_by_name() -> None:
    tied = _set(a={"software": ["s"]}, b={"software": ["s"], "priority": 1}, c={"software": ["s"]})
    assert _chosen(tied, "https://x.org", Capability("s")) == "b"
    assert (
        _chosen(_set(a={"software": ["s"]}, c={"software": ["s"]}), "https://x.org", Capability("s")) == "c"
    )


def test_the_highest_version_is_current_and_others_stay_reachable() -> None:
    values = [{"key": "k", "path": "id"}]
    schemas = SchemaSet([plan_of({"version": version, "values": values}) for version in ("1.10.0", "1.9.0")])
    assert schemas.get("test").schema.version == "1.10.0"
    assert schemas.get("test@1.9.0").schema.version == "1.9.0"
    assert [entry["version"] for entry in schemas.listing()] == ["1.10.0"]


def test_a_source_is_asked_for_its_capabilities_only_where_they_decide() -> None:
    schemas = SchemaSet.load(SCHEMAS)
    assert schemas.needs_capability(Source())
    assert not schemas.needs_capability(Source("https://kf-api-fhir-service.kidsfirstdrc.org"))
    assert not _set().needs_capability(Source())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"software":{"name":"HAPI"},"fhirVersion":"4.0.1"}', Capability("HAPI", "4.0.1")),
        (b'{"fhirVersion":"4.0.1"}', Capability(None, "4.0.1")),
        (b'{"software":5}', Capability()),
        (b"<html>", Capability()),
    ],
)
def test_what_a_capability_statement_does_not_say_is_unknown(body: bytes, expected: Capability) -> None:
    assert read_capability(body) == expected


def test_the_listing_describes_each_schema() -> None:
    listing = {entry["name"]: entry for entry in SchemaSet.load(SCHEMAS).listing()}
    assert sorted(listing) == ["generic-r4", "ncpi-research", "synthea"]
    keys = {key["key"]: key for key in listing["ncpi-research"]["keys"]}
    assert keys["sample_id"]["required"]
    assert keys["sample_id"]["type"] == "array"
    assert "Specimen" in listing["ncpi-research"]["follows"]
