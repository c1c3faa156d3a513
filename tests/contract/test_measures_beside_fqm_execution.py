"""Data requirements beside those that fqm-execution, run by node, computes for measures at hand.

SLUICE_FQM names a folder with fqm-execution in its `node_modules` (`npm install fqm-execution@1.8.6`);
SLUICE_MEASURES a folder of measure bundles, `*-bundle.json` or `*-bundle.json.gz`.
"""

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sluice_fhir.measures.artifacts import BundledArtifacts, look_up
from sluice_fhir.measures.problems import MeasureError
from sluice_fhir.measures.requirements import find_requirements

FQM = os.environ.get("SLUICE_FQM", "")
MEASURES = os.environ.get("SLUICE_MEASURES", "")
NODE = shutil.which("node") or ""

# Gives the data requirements of the Bundle at its standard input, or null where it cannot.
PROGRAM = """
const { Calculator } = require("fqm-execution");
Calculator.calculateDataRequirements(JSON.parse(require("fs").readFileSync(0, "utf8")), {})
  .then(found => process.stdout.write("\\n" + JSON.stringify(found.results.dataRequirement)))
  .catch(() => process.stdout.write("\\nnull"));
"""

pytestmark = pytest.mark.skipif(
    not (FQM and MEASURES and NODE), reason="needs node, SLUICE_FQM and SLUICE_MEASURES"
)


def published() -> list[Path]:
    return sorted(Path(MEASURES).glob("*-bundle.json*")) if MEASURES else []


def key(requirement: dict[str, Any]) -> str:
    """A requirement by its type, profile and codes.

    From conditions in the logic fqm-execution makes filters on other elements, such as status, which come
    after the Retrieve's own; those are not compared.
    """
    first = requirement.get("codeFilter", [{}])[:1]
    codes = sorted(
        (code.get("system") or "", code["code"]) for each in first for code in each.get("code", [])
    )
    named = [(each.get("path"), each.get("valueSet")) for each in first]
    return json.dumps([requirement["type"], requirement.get("profile", []), named, codes])


def theirs(bundle: bytes) -> set[str] | None:
    run = subprocess.run([NODE, "-e", PROGRAM], input=bundle, capture_output=True, cwd=FQM, check=True)
    found = json.loads(run.stdout.rpartition(b"\n")[2])
    return None if found is None else {key(each) for each in found}


def without_statements(bundle: bytes) -> bytes:
    """Leave out what measures state, which fqm-execution does not read."""
    decoded = json.loads(bundle)
    for entry in decoded["entry"]:
        if entry["resource"]["resourceType"] == "Measure":
            entry["resource"].pop("extension", None)
    return json.dumps(decoded).encode()


@pytest.mark.parametrize("path", published(), ids=lambda path: path.name)
def test_everything_that_fqm_execution_finds_is_found(path: Path) -> None:
    body = path.read_bytes()
    bundle = without_statements(gzip.decompress(body) if path.suffix == ".gz" else body)
    expected = theirs(bundle)
    kept = BundledArtifacts.of(bundle)
    if expected is None or len(kept.measures) != 1:
        pytest.skip("fqm-execution cannot compute it")
    try:
        found = look_up(find_requirements(kept.measures[0]), kept)
    except MeasureError as error:
        pytest.fail(str(error))
    ours = {key(each) for each in json.loads(msgspec.json.encode(found.requirements))}
    assert expected <= ours
