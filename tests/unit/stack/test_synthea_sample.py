"""The sample of Synthea's output in the repository."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from sluice_stack import synthea
from sluice_stack.source.server import SAMPLE
from sluice_stack.synthea import TYPES, Population


def _lines(kind: str) -> list[bytes]:
    with gzip.open(SAMPLE / f"{kind}.ndjson.gz", "rb") as lines:
        return list(lines)


@pytest.mark.parametrize("kind", TYPES)
def test_every_line_is_a_resource_of_its_file_with_an_id_of_its_own(kind: str) -> None:
    resources = [msgspec.json.decode(line) for line in _lines(kind)]
    assert {resource["resourceType"] for resource in resources} == {kind}
    assert Counter(resource["id"] for resource in resources).most_common(1)[0][1] == 1


def test_the_sample_is_what_its_description_says() -> None:
    counts = {kind: len(_lines(kind)) for kind in TYPES}
    said = (SAMPLE / "README.md").read_text()
    assert f"{counts['Patient']} synthetic patients" in said
    assert f"{counts['DocumentReference']}\nDocumentReferences" in said
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) < 1_000_000


@pytest.mark.parametrize("kind", TYPES)
def test_the_sample_holds_no_path_of_the_machine_it_was_made_on(kind: str) -> None:
    text = b"".join(_lines(kind))
    assert not [each for each in (b"/home/", b"/root/", b"/tmp/", b"/Users/", b"localhost") if each in text]


def test_the_same_lines_are_compressed_to_the_same_bytes(tmp_path: Path) -> None:
    source = tmp_path / "Patient.ndjson"
    source.write_bytes(b'{"resourceType":"Patient"}\n' * 100)
    for name in ("one.gz", "another.gz"):
        synthea._compress(source, tmp_path / name)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "another.gz").read_bytes()


def test_a_population_is_named_by_all_that_decides_it() -> None:
    names = {
        Population(10).name,
        Population(11).name,
        Population(10, seed=1).name,
        Population(10, today="20250101").name,
    }
    assert len(names) == 4
