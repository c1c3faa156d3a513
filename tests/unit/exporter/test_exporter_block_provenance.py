"""Which Provenance resources are in a patient's block."""

from __future__ import annotations

import json

import pytest

from sluice_exporter.provenance import BlockProvenance

JANUARY, JULY = "2025-01-01T00:00:00Z", "2025-07-01T00:00:00Z"


def provenance(id_: str, recorded: str, *about: str) -> bytes:
    target = [{"reference": each} for each in about]
    return json.dumps({"id": id_, "recorded": recorded, "target": target}).encode()


def resource(id_: str) -> bytes:
    return json.dumps({"id": id_}).encode()


def ids(lines: list[bytes]) -> list[str]:
    return sorted(json.loads(line)["id"] for line in lines)


@pytest.mark.parametrize(("latest", "expected"), [(False, ["new", "old", "other"]), (True, ["new", "other"])])
def test_a_block_has_what_is_about_it_all_or_the_latest_of_each(latest: bool, expected: list[str]) -> None:
    rule = BlockProvenance(latest=latest)
    rule.returned("Observation", [resource("1"), resource("2")])
    given = rule.told(
        [
            provenance("old", JANUARY, "Observation/1", "Patient/a"),
            provenance("new", JULY, "Observation/1/_history/3", "Patient/a"),
            provenance("elsewhere", JULY, "Observation/3", "Condition/1", "Patient/a"),
        ]
    )
    given += rule.told([provenance("other", JANUARY, "Observation/2", "Observation/1")])
    assert ids(given + rule.end()) == expected


def test_one_that_is_the_latest_about_several_comes_once_and_of_two_at_once_the_first_by_name() -> None:
    rule = BlockProvenance(latest=True)
    rule.returned("Observation", [resource("1"), resource("2")])
    for id_ in ("c", "b"):
        rule.told([provenance(id_, JULY, "Observation/1", "Observation/2")])
    assert rule.told([provenance("d", JULY, "Observation/1")]) == []
    assert ids(rule.end()) == ["b"]


@pytest.mark.parametrize("latest", [False, True])
def test_what_was_in_one_block_is_not_in_the_next(latest: bool) -> None:
    rule = BlockProvenance(latest=latest)
    rule.returned("Observation", [resource("1")])
    line = provenance("p", JULY, "Observation/1")
    assert ids(rule.told([line]) + rule.end()) == ["p"]
    rule.returned("Observation", [resource("2")])
    assert rule.told([line]) + rule.end() == []
