"""The paths of search parameters select what their FHIRPath expressions select by fhirpathpy."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from sluice_fhir import fhirpath_model as model
from sluice_fhir.fhirpath import evaluate_fully
from sluice_fhir.fhirpath_parse import parse
from sluice_fhir.search_paths import fhirpath, selector
from sluice_fhir.search_table import Kind, parameters
from support.resource_search_table import read_bundle, table

SYNTHEA = Path(__file__).parents[3] / "schemas" / "examples" / "synthea"
TABLE = Path(model.__file__).with_name("search_parameters.tsv")


def lines_of(line: str) -> list[tuple[str, str, str]]:
    """Give the type, path and name of a line of the table; of a composite for each of its components."""
    name, kind, definition, types = line.split("\t")
    base, *components = definition.split(";")
    type_ = types.split()[0]
    if kind != Kind.COMPOSITE:
        return [(type_, base, name)]
    # An element's component is here the path from the resource to it, as a resource's own is.
    paths = [
        each.removeprefix("%") if each.startswith("%") or place == "." else f"{place}.{each}"
        for place in base.split("|")
        for component in components
        for each in component.partition(":")[2].split("|")
    ]
    return [(type_, path, f"{name}-{number}") for number, path in enumerate(paths)]


# A type and a path for every line of the table, and so for every expression there is.
LINES = [found for line in TABLE.read_text().splitlines() for found in lines_of(line)]

WORDS = ["phone", "email", "x", "composed-of", "depends-on", "derived-from", "predecessor", "successor"]


def canonical(value: Any) -> str:
    """Write a value with its numbers as text, as fhirpathpy leaves them where they are inside of elements."""
    if isinstance(value, dict):
        return str([f"{key}:{canonical(value[key])}" for key in sorted(value)])
    if isinstance(value, list):
        return str([canonical(item) for item in value])
    return str(value)


def agree(type_: str, path: str, resource: dict[str, Any], tree: Any) -> int:
    mine = [value for _, value in selector(path, type_)(resource)]
    theirs = evaluate_fully(tree, resource)
    # A union has no order, and leaves out what is equal.
    if "|" in path:
        assert {canonical(value) for value in mine} == {canonical(value) for value in theirs}
    else:
        assert [canonical(value) for value in mine] == [canonical(value) for value in theirs]
    return len(mine)


def grown(random: Random, place: str, names: list[str], depth: int = 0) -> Any:
    """Make an element whose children are some of `names`, as R4's model has them."""
    if place in ("Reference", "CodeableConcept") and random.random() < 0.6:
        target = random.choice(["Patient", "Practitioner", "Location", "Group", "RelatedPerson"])
        return {"reference": f"{target}/{random.randint(1, 3)}"} if place == "Reference" else {"text": "t"}
    found: dict[str, Any] = {}
    for name in names:
        full = model.child(place, name)
        if depth > 6 or not model.knows(full) or random.random() < 0.25:
            continue
        kinds = model.choices(full)
        kind = random.choice(kinds) if kinds else model.type_of(full)
        key = f"{name}{kind}" if kinds else name
        several = 1 if name in ("reference", "system", "type") else random.choice([1, 1, 2])
        values = [leaf_or(random, kind, names, depth) for _ in range(several)]
        found[key] = values if len(values) > 1 else values[0]
    return found


def leaf_or(random: Random, kind: str, names: list[str], depth: int) -> Any:
    leaves: dict[str, list[Any]] = {
        "boolean": [True, False],
        "Boolean": [True, False],
        "decimal": [1.5, 2],
        "integer": [3],
        "Integer": [3],
    }
    if kind in leaves:
        return random.choice(leaves[kind])
    if kind[0].islower() or kind in ("String", "DateTime", "Date", "Uri", "Canonical", "Code", "Time"):
        return random.choice(WORDS)
    return grown(random, kind, names, depth + 1)


@pytest.mark.parametrize(("type_", "path", "name"), LINES, ids=[f"{line[0]}-{line[2]}" for line in LINES])
def test_a_path_selects_what_fhirpathpy_selects(type_: str, path: str, name: str) -> None:
    if type_ == "Resource":
        type_ = "Observation"
    names = sorted({part.strip("|") for part in path.replace("|", ".").replace("[", ".[").split(".")})
    names = [each.partition("{")[0].partition("(")[0].partition("#")[0] for each in names if each[:1] != "["]
    tree = parse(fhirpath(path, type_))
    random = Random(f"{type_}{path}")
    wanted = sorted({*names, "reference", "system", "type", "value", "meta"})
    found = 0
    for round_ in range(400):
        resource = {"resourceType": type_, **grown(random, type_, wanted)}
        found += agree(type_, path, resource, tree)
        if round_ >= 8 and found >= 4:
            break
    assert found, "nothing was ever selected"


@pytest.mark.parametrize("path", sorted(SYNTHEA.glob("*.ndjson.gz")), ids=lambda path: path.name)
def test_on_real_resources_paths_and_fhirpathpy_agree(path: Path) -> None:
    type_ = path.name.partition(".")[0]
    lines = gzip.decompress(path.read_bytes()).splitlines()
    resources = [msgspec.json.decode(line) for line in Random(3).sample(lines, min(4, len(lines)))]
    found = 0
    for parameter in parameters(type_).values():
        if parameter.kind is not Kind.COMPOSITE:
            tree = parse(fhirpath(parameter.path, type_))
            found += sum(agree(type_, parameter.path, resource, tree) for resource in resources)
    assert found, "nothing was ever selected"


def test_the_table_is_what_hl7s_definitions_make() -> None:
    jar = os.environ.get("SLUICE_TEST_R4_RESOURCES_JAR")
    if jar is None:
        pytest.skip("SLUICE_TEST_R4_RESOURCES_JAR names no file")
    assert TABLE.read_text() == table(read_bundle(Path(jar)))
