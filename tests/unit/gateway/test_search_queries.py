"""Searches of the FHIR API, as they are read."""

from __future__ import annotations

import pytest

from sluice_gateway.fhir.outcomes import Refusal
from sluice_gateway.fhir.queries import parse_search


@pytest.mark.parametrize("pairs", [[("name", "a" + ",a" * 1000)], [("name", "a")] * 1001])
def test_more_values_than_could_be_compared_with_every_resource_are_refused(
    pairs: list[tuple[str, str]],
) -> None:
    with pytest.raises(Refusal) as raised:
        parse_search("Patient", pairs)
    assert (raised.value.status, len(raised.value.issues)) == (400, 1)


def test_ids_are_looked_up_and_may_be_more() -> None:
    ids = [f"p{number}" for number in range(5000)]
    assert parse_search("Patient", [("_id", ",".join(ids))]).ids == tuple(sorted(ids))
