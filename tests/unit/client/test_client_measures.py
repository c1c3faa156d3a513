"""What is taken of the files in which measures are published."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sluice_client.measures import ARTIFACTS, MeasureFileError, artifacts_of, content_of
from sluice_fhir.measures.intake import ARTIFACTS as TAKEN
from sluice_fhir.measures.intake import parse_bundle

EXAMPLES = Path(__file__).parents[3] / "schemas" / "examples" / "measures"
FILES = sorted(EXAMPLES.glob("*.json"))


def entries(content: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(bytes(artifacts_of(content)))["entry"]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_measures_consist_of_is_taken_and_their_examples_are_not(path: Path) -> None:
    given = [each["resource"] for each in json.loads(path.read_bytes())["entry"]]
    made = bytes(artifacts_of(path.read_bytes()))
    taken = [each for each in given if each["resourceType"] in TAKEN]
    assert [each["resource"] for each in json.loads(made)["entry"]] == taken
    assert {each.type for each in parse_bundle(made).entries} <= ARTIFACTS == TAKEN


def test_a_single_resource_is_taken_with_every_number_as_it_was_written() -> None:
    text = b'{"resourceType":"ValueSet","id":"a","x":1.10,"y":1e2}'
    assert text in bytes(artifacts_of(text))
    assert entries(text)[0]["request"] == {"method": "PUT", "url": "ValueSet/a"}


def test_what_has_no_id_is_given_one_by_the_service() -> None:
    assert entries(b'{"resourceType":"Library"}')[0]["request"] == {"method": "POST", "url": "Library"}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"resourceType":"Bundle"}',
        b'{"resourceType":"Bundle","entry":7}',
        b'{"resourceType":"Bundle","entry":[{"resource":null},{"resource":7},{}]}',
        b'{"resourceType":"Patient","id":"a"}',
        b'{"resourceType":"ValueSet","x":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_a_file_without_measures_is_refused_before_anything_is_sent(content: bytes) -> None:
    with pytest.raises(MeasureFileError):
        artifacts_of(content)


def test_files_are_read_as_they_are_or_compressed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    (tmp_path / "b.json").write_bytes(gzip.compress(b"{}"))
    assert content_of(tmp_path / "a.json") == content_of(tmp_path / "b.json") == b"{}"
    (tmp_path / "c.json").write_bytes(gzip.compress(b"{}")[:-3])
    for name in ("c.json", "none.json"):
        with pytest.raises(MeasureFileError):
            content_of(tmp_path / name)
