"""Published measures, beside the requirements that fqm-execution 1.8.6 computes for them.

The folder with them (`<name>-bundle.json.gz` and `<name>-requirements.json`) is not part of the project;
SLUICE_MEASURES names it. The expectations below are explained in the decision on data requirements.
"""

import gzip
import json
import os
from pathlib import Path

import pytest

from sluice_client.measures import artifacts_of
from sluice_fhir.measures.artifacts import BundledArtifacts, look_up
from sluice_fhir.measures.intake import parse_bundle
from sluice_fhir.measures.requirements import Requirements, find_missing_value_sets, find_requirements
from support.measure_library import needed

_PROJECT = Path(__file__).parents[4]
FOLDER = Path(os.environ.get("SLUICE_MEASURES", _PROJECT.parent / "shared" / "data" / "measures"))
NAMES = ("EXM104-8.2.000", "EXM111-9.1.000")
VSAC = "http://cts.nlm.nih.gov/fhir/ValueSet"

# What the measures' logic needs beside it: retrieves in functions, which fqm-execution does not follow, and
# retrieves without codes, which it leaves out.
MORE: dict[str, set[tuple[str, str | None, str | None]]] = {
    "EXM104-8.2.000": {
        ("Condition", None, None),
        ("Encounter", "type", f"{VSAC}/2.16.840.1.113883.3.117.1.7.1.292"),
        ("Encounter", "type", f"{VSAC}/2.16.840.1.113762.1.4.1111.143"),
    },
    "EXM111-9.1.000": {("Condition", None, None), ("Location", None, None)},
}

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no published measures: set SLUICE_MEASURES")


def bundle(name: str) -> bytes:
    return gzip.decompress((FOLDER / f"{name}-bundle.json.gz").read_bytes())


def found(kept: BundledArtifacts) -> Requirements:
    (measure,) = kept.measures
    return look_up(find_requirements(measure), kept)


@pytest.mark.parametrize("name", NAMES)
def test_what_fqm_execution_finds_is_found_and_what_it_leaves_out(name: str) -> None:
    theirs = json.loads((FOLDER / f"{name}-requirements.json").read_text())
    expected = {(each["type"], each["path"], each["filter"]) for each in theirs}
    assert needed(found(BundledArtifacts.of(bundle(name)))) == expected | MORE[name]


@pytest.mark.parametrize("name", NAMES)
def test_all_value_sets_that_are_needed_were_published_with_it(name: str) -> None:
    kept = BundledArtifacts.of(bundle(name))
    assert look_up(find_missing_value_sets(found(kept)), kept) == ()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_taken_in_as_published_and_without_its_patients(name: str) -> None:
    published = bundle(name)
    whole = parse_bundle(published)
    assert not whole.refused
    assert len(whole.entries) == len(json.loads(published)["entry"])
    only = parse_bundle(bytes(artifacts_of(published)))
    assert {each.type for each in only.entries} == {"Measure", "Library", "ValueSet"}
    assert found(BundledArtifacts(each.body for each in only.entries)) == found(
        BundledArtifacts.of(published)
    )
