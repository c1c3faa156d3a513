"""Scrape schemas: those that ship load; what is wrong with others is said with file, place and advice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice_fhir.fhirpath import evaluate_fully
from sluice_fhir.fhirpath_parse import parse
from sluice_fhir.scrape import Scraper, open_document
from sluice_fhir.scrape_match import SchemaSet, schema_folder
from sluice_fhir.scrape_plan import Plan
from sluice_fhir.scrape_resolve import split_resolve
from sluice_fhir.scrape_schema import SchemaError
from support.scrape_source import BASE, SCHEMAS, MemorySource, bundle, document, plan_of

SHIPPED = SchemaSet.load(SCHEMAS)
PLANS = {name: SHIPPED.get(name) for name in ("generic-r4", "synthea", "ncpi-research")}


def _problems(schema: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(SchemaError) as caught:
        plan_of(schema)
    assert caught.value.file == "test.json"
    assert str(caught.value).startswith("test.json ")
    return [(problem.pointer, problem.text) for problem in caught.value.problems]


VALUE = {"key": "k", "path": "status"}


@pytest.mark.parametrize(
    ("schema", "pointer", "says"),
    [
        ({"values": []}, "/values", "non-empty"),
        ({"values": [VALUE], "vlaues": 1}, "", "unknown field 'vlaues'; known are:"),
        ({"values": [{"key": "k"}]}, "/values/0", "exactly one of path, first_of"),
        ({"values": [{**VALUE, "first_of": [{"path": "id"}]}]}, "/values/0", "exactly one of path"),
        ({"values": [{**VALUE, "unit": "days"}]}, "/values/0", "born, at and unit belong to type age"),
        ({"values": [{**VALUE, "type": "text"}]}, "/values/0/type", "'text' is not one of"),
        ({"values": [{**VALUE, "key": "a.b"}]}, "/values/0/key", "without . and $"),
        ({"values": [{**VALUE, "key": "é" * 51}]}, "/values/0/key", "longer than 100 bytes"),
        ({"values": [{**VALUE, "key": "e\u0301"}]}, "/values/0/key", "NFC"),
        ({"values": [VALUE, {**VALUE, "key": "K"}]}, "/values/1/key", "already given by /values/0"),
        ({"values": [{**VALUE, "path": "a..b"}]}, "/values/0", "syntax error at column 3"),
        ({"values": [{**VALUE, "path": "type.frist()"}]}, "/values/0", "there is no function frist()"),
        ({"values": [{**VALUE, "path": "statis"}]}, "/values/0", "FHIR R4 has no DocumentReference.statis"),
        ({"values": [{**VALUE, "path": "subject.resolve().gender"}]}, "/values/0", ".ofType(Patient)"),
        (
            {"values": [{**VALUE, "from": "nobody"}]},
            "/values/0",
            "no follow named 'nobody'; there are: document",
        ),
        ({"values": [{**VALUE, "type": "number", "default": "x"}]}, "/values/0/default", "'x' is no number"),
        ({"values": [{**VALUE, "map": {"a/b": "x" * 301}}]}, "/values/0/map/a~1b", "is no string"),
        (
            {"values": [VALUE], "follow": {"document": {"type": "Patient", "reference": "x"}}},
            "/follow",
            "document",
        ),
        (
            {"values": [VALUE], "follow": {"p": {"type": "Pat", "reference": "subject"}}},
            "/follow/p/type",
            "no resource",
        ),
        ({"values": [VALUE], "follow": {"p": {"type": "Patient"}}}, "/follow/p", "a reference"),
        (
            {"values": [VALUE], "follow": {"p": {"type": "Patient", "search": "Patient?_id={q}"}}},
            "/follow/p",
            "no follow named 'q'",
        ),
        (
            {"values": [VALUE], "follow": {"p": {"type": "Patient", "search": "Specimen?subject=x"}}},
            "/follow/p/search",
            "for another type",
        ),
        (
            {
                "values": [VALUE],
                "follow": {
                    "a": {"type": "Patient", "from": "b", "reference": "generalPractitioner"},
                    "b": {"type": "Patient", "from": "a", "reference": "generalPractitioner"},
                },
            },
            "/follow/a",
            "depends on itself",
        ),
        ({"values": [VALUE], "version": "1"}, "/version", "not of the form"),
        ({"values": [VALUE], "match": {"base_urls": ["ftp://x"]}}, "/match", "conditions"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(schema: dict[str, Any], pointer: str, says: str) -> None:
    problems = _problems(schema)
    assert any(place == pointer and says in text for place, text in problems), problems


def test_all_problems_of_a_schema_are_listed_at_once() -> None:
    found = _problems({"values": [{"key": "a", "path": "statis"}, {"key": "b", "path": "a..b"}]})
    assert [place for place, _ in found] == ["/values/0", "/values/1"]


def test_a_follow_that_hangs_together_in_too_many_levels_is_refused() -> None:
    follow = {"f0": {"type": "Organization", "reference": "custodian"}}
    follow |= {
        f"f{index}": {"type": "Organization", "from": f"f{index - 1}", "reference": "partOf"}
        for index in range(1, 8)
    }
    assert _problems({"values": [VALUE], "follow": follow})[0][0] == "/follow"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(SCHEMAS, tmp_path / "scrape")
    return tmp_path / "scrape"


def _edited(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    file = folder / "generic-r4.json"
    schema = json.loads(file.read_text())
    edit(schema)
    file.write_text(json.dumps(schema))


def test_a_bad_expression_in_a_file_is_reported_with_the_file_and_its_place(folder: Path) -> None:
    _edited(folder, lambda schema: schema["values"][1].update(path="status.where("))
    with pytest.raises(SchemaError, match=r"generic-r4.json.*\n.*/values/1: .*correct the FHIRPath"):
        SchemaSet.load(folder)


def test_a_file_that_is_not_json_is_reported_with_its_name(folder: Path) -> None:
    (folder / "broken.json").write_text("{")
    with pytest.raises(SchemaError, match=r"broken.json is no usable scrape schema:\n  /: it is not JSON"):
        SchemaSet.load(folder)


def test_two_schemas_of_one_name_and_version_are_refused(folder: Path) -> None:
    shutil.copy(folder / "synthea.json", folder / "synthea-again.json")
    with pytest.raises(SchemaError, match=r"synthea.*already defined.*raise the version"):
        SchemaSet.load(folder)


def test_a_set_without_a_schema_for_every_server_is_refused(folder: Path) -> None:
    (folder / "generic-r4.json").unlink()
    with pytest.raises(SchemaError, match="no schema matches every server"):
        SchemaSet.load(folder)


def test_a_folder_without_the_form_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="SLUICE_SCRAPE_SCHEMAS"):
        SchemaSet.load(tmp_path)


def test_the_shipped_schemas_are_found_beside_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLUICE_SCRAPE_SCHEMAS", raising=False)
    assert schema_folder() == SCHEMAS


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_nearly_all_shipped_expressions_run_on_the_fast_path(plan: Plan) -> None:
    documents = [rule.path for rule in plan.document.rules] + [lead.path for lead in plan.document.leads]
    assert all(path.fast for path in documents)
    followed = [
        rule.path.expression
        for reader in plan.readers.values()
        for rule in reader.rules
        if not rule.path.fast
    ]
    assert len(followed) <= 1


def _words(node: dict[str, Any]) -> list[str]:
    own = [node["text"].strip("'")] if node.get("type") in ("Identifier", "StringLiteral") else []
    return own + [word for child in node.get("children", ()) for word in _words(child)]


def _shown(value: Any) -> Any:
    """Leave out what fhirpathpy does not show: objects in lists that have an extension and nothing else."""
    if isinstance(value, dict):
        return {key: _shown(each) for key, each in value.items()}
    if isinstance(value, list):
        return [each for each in map(_shown, value) if not _is_bare_extension(each)]
    return value


def _is_bare_extension(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["extension"]


def _shipped_expressions() -> list[tuple[str, str]]:
    return sorted(
        {
            (reader.type, path.expression)
            for plan in PLANS.values()
            for reader in (plan.document, *plan.readers.values())
            for path in [rule.path for rule in reader.rules] + [lead.path for lead in reader.leads]
            if path.fast
        }
    )


@pytest.mark.parametrize(("kind", "expression"), _shipped_expressions())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_shipped_expression_gives_what_fhirpathpy_gives(
    kind: str, expression: str, data: st.DataObject
) -> None:
    words = sorted(set(_words(parse(expression))))
    texts = st.sampled_from([*words, "x", "Patient/1", ""])
    fields = st.sampled_from([*words, "extension", "url", "system", "deceasedBoolean"])
    values = st.recursive(
        # No null: FHIR's JSON has none in objects, and fhirpathpy drops them there.
        st.one_of(texts, st.booleans(), st.integers(0, 3)),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(fields, inner, max_size=4)),
        max_leaves=15,
    )
    resource = {**data.draw(st.dictionaries(fields, values, max_size=6)), "resourceType": kind}
    [fast] = {
        path.evaluate
        for plan in PLANS.values()
        for reader in (plan.document, *plan.readers.values())
        if reader.type == kind
        for path in [rule.path for rule in reader.rules] + [lead.path for lead in reader.leads]
        if path.expression == expression
    }
    try:
        full = evaluate_fully(parse(expression), resource)
    except Exception:
        return
    # A list within a list, which FHIR has not, it shows as it is.
    found = [each if isinstance(each, list) else _shown(each) for each in fast(resource)]
    found = [each for each in found if not _is_bare_extension(each)]
    assert [(type(one), one) for one in found] == [(type(one), one) for one in full]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("subject.resolve().ofType(Patient).gender", ("subject", "Patient", "gender")),
        (
            "author.where(type = 'x.resolve()').resolve().ofType( Group )",
            ("author.where(type = 'x.resolve()')", "Group", "id"),
        ),
        ("subject.resolve().gender", ("subject", None, "gender")),
        ("author.where(resolve().ofType(Patient).exists()).display", None),
        ("a.resolve().ofType(B).c.resolve().ofType(D).e", ("a", "B", "c.resolve().ofType(D).e")),
        ("resolve().ofType(Patient)", None),
    ],
)
def test_resolve_is_split_where_it_is_called_on_the_path_itself(
    path: str, split: tuple[str, str | None, str] | None
) -> None:
    assert split_resolve(path) == split


def _documented() -> list[str]:
    text = (SCHEMAS.parents[1] / "docs" / "scrape-schemas.md").read_text()
    return [block.partition("```")[0] for block in text.split("```json\n")[1:]]


async def test_the_documented_example_yields_what_is_documented() -> None:
    schema, made = (json.loads(block) for block in _documented())
    schema.pop("$schema")
    source = MemorySource(
        {
            "resourceType": "Patient",
            "id": "7",
            "gender": "female",
            "birthDate": "1980-01-02",
            "identifier": [{"system": "urn:biobank:case", "value": "C-7"}],
        }
    )
    specimens = [
        {"resourceType": "Specimen", "id": str(number), "identifier": [{"value": f"S-{number}"}]}
        for number in (1, 2)
    ]
    source.put("Specimen?subject=Patient/7&_count=10", bundle(*specimens))
    given = document(type={"text": "Pathology report"}, subject={"reference": "Patient/7"}, date="2021-06-01")
    plan = plan_of(schema)
    opened = open_document(plan, json.dumps(given).encode())
    scraped = await Scraper().scrape(plan, opened, source, BASE, scope="job")
    assert scraped.metadata == made
