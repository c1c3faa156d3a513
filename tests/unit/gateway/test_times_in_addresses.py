"""Times in addresses are read by one rule: a zone's plus that was not encoded arrives as a blank."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest
from pydantic import TypeAdapter, ValidationError

from sluice_fhir.search import SearchError, compile_filter
from sluice_gateway.fhir.audit_queries import parse_audit_search
from sluice_gateway.models.base import Instant
from sluice_gateway.problems import Problem

ELEVEN = datetime(2026, 1, 31, 11, tzinfo=UTC)
GOOD = ["2026-01-31T12:00:00+01:00", "2026-01-31T12:00:00%2B01:00", "2026-01-31T10:00:00-01:00"]
BAD = ["2026-01-31T12:00:00++01:00", "2026-01-31+12:00:00Z", "2026-01-31T12:00:00Z+", "+2026-01-31T12:00:00Z"]


def arrived(text: str) -> str:
    """Give what a query string's value arrives as."""
    return dict(parse_qsl(f"t={text}"))["t"]


@pytest.mark.parametrize("text", GOOD)
def test_a_plus_is_a_plus_however_it_was_sent(text: str) -> None:
    assert TypeAdapter(Instant).validate_python(arrived(text)) == ELEVEN
    found = compile_filter("Patient", f"death-date={text}")
    assert found({"resourceType": "Patient", "deceasedDateTime": "2026-01-31T11:00:00Z"})
    query = parse_audit_search([("date", f"ge{arrived(text)}")], lenient=False)
    assert query.wanted.since == ELEVEN


@pytest.mark.parametrize("text", BAD)
def test_another_blank_is_no_part_of_a_time(text: str) -> None:
    with pytest.raises(SearchError):
        compile_filter("Patient", f"death-date={text}")
    with pytest.raises(Problem):
        parse_audit_search([("date", arrived(text))], lenient=False)
    if "31+12" not in text:  # a blank may stand for the T of ISO 8601 there
        with pytest.raises(ValidationError):
            TypeAdapter(Instant).validate_python(arrived(text))
