"""One table says what an answer means, and Retry-After is read however it is written."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.errors import ItemError
from sluice_fhir.outcomes import Asked, issue_failure, retry_after, status_failure

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "document", "attachment", "retry"),
    [
        (400, ItemError.SOURCE_REJECTED, ItemError.SOURCE_REJECTED, False),
        (401, ItemError.SOURCE_REFUSED, ItemError.SOURCE_REFUSED, False),
        (403, ItemError.SOURCE_REFUSED, ItemError.SOURCE_REFUSED, False),
        (404, ItemError.DOCUMENT_NOT_FOUND, ItemError.ATTACHMENT_NOT_FOUND, False),
        (408, ItemError.SOURCE_TIMEOUT, ItemError.SOURCE_TIMEOUT, True),
        (410, ItemError.DOCUMENT_GONE, ItemError.ATTACHMENT_NOT_FOUND, False),
        (416, ItemError.SOURCE_REJECTED, ItemError.ATTACHMENT_TRUNCATED, False),
        (429, ItemError.SOURCE_THROTTLED, ItemError.SOURCE_THROTTLED, True),
        (500, ItemError.SOURCE_UNAVAILABLE, ItemError.SOURCE_UNAVAILABLE, True),
        (501, ItemError.SOURCE_REJECTED, ItemError.SOURCE_REJECTED, False),
        (503, ItemError.SOURCE_UNAVAILABLE, ItemError.SOURCE_UNAVAILABLE, True),
        (504, ItemError.SOURCE_TIMEOUT, ItemError.SOURCE_TIMEOUT, True),
        (204, ItemError.SOURCE_REJECTED, ItemError.SOURCE_REJECTED, False),
        (304, ItemError.SOURCE_REJECTED, ItemError.SOURCE_REJECTED, False),
        (599, ItemError.SOURCE_UNAVAILABLE, ItemError.SOURCE_UNAVAILABLE, True),
        (999, ItemError.SOURCE_REJECTED, ItemError.SOURCE_REJECTED, False),
    ],
)
def test_a_status_means_the_same_everywhere(
    status: int, document: ItemError, attachment: ItemError, retry: bool
) -> None:
    asked = [status_failure(status, Asked.DOCUMENT, 7.0), status_failure(status, Asked.ATTACHMENT, 7.0)]
    assert [failure.code for failure in asked] == [document, attachment]
    assert all(failure.retry is retry and failure.status == status for failure in asked)
    assert all(failure.after == (7.0 if retry else None) for failure in asked)


@pytest.mark.parametrize(
    ("codes", "code", "retry"),
    [
        (["not-found"], ItemError.DOCUMENT_NOT_FOUND, False),
        (["informational", "deleted"], ItemError.DOCUMENT_GONE, False),
        (["throttled"], ItemError.SOURCE_THROTTLED, True),
        (["timeout"], ItemError.SOURCE_TIMEOUT, True),
        (["forbidden"], ItemError.SOURCE_REFUSED, False),
        (["invalid"], ItemError.SOURCE_REJECTED, False),
        ([], ItemError.SOURCE_REJECTED, False),
    ],
)
def test_an_operation_outcome_means_what_its_issues_say(
    codes: list[str], code: ItemError, retry: bool
) -> None:
    failure = issue_failure(codes, 200, Asked.DOCUMENT)
    assert (failure.code, failure.retry, failure.status) == (code, retry, 200)


@given(st.integers(0, 10**9))
def test_seconds_are_read(seconds: int) -> None:
    assert retry_after(f" {seconds} ", NOW) == seconds


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_dates_are_read_and_the_past_is_now(date: datetime) -> None:
    date = date.replace(microsecond=0)
    assert retry_after(format_datetime(date, usegmt=True), NOW) == max(0.0, date.timestamp() - NOW)


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "1.5", "1e9", "9" * 40, "٣", "Thu, 99 Foo 2020"])
def test_what_is_neither_is_nothing(text: str | None) -> None:
    assert retry_after(text, NOW) is None


@pytest.mark.fuzz
@given(st.text(max_size=60))
def test_no_text_breaks_it(text: str) -> None:
    seconds = retry_after(text, NOW)
    assert seconds is None or 0 <= seconds < 1e12
