"""A job id proves to its owner, and to nobody else, that the job was accepted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.ids import accepted_at, job_id

KEY = b"k" * 32
times = st.floats(min_value=1.6e9, max_value=4e9)
nonces = st.integers(min_value=0, max_value=2**32 - 1)
owners = st.text(max_size=40)


@given(times, nonces, owners)
def test_the_owner_reads_back_the_time_of_acceptance_to_the_millisecond(
    at: float, nonce: int, owner: str
) -> None:
    accepted = accepted_at(KEY, owner, job_id(KEY, owner, at, nonce))
    assert accepted is not None
    assert abs(accepted - at) < 0.0011


@given(times, nonces, owners, owners)
def test_nobody_else_can_tell_the_id_from_an_invented_one(
    at: float, nonce: int, one: str, other: str
) -> None:
    job = job_id(KEY, one, at, nonce)
    assert (accepted_at(KEY, other, job) is not None) == (one == other)
    assert accepted_at(b"another key" * 3, one, job) is None


@pytest.mark.fuzz
@given(st.text(max_size=60))
def test_text_that_is_no_job_id_is_never_accepted(text: str) -> None:
    assert accepted_at(KEY, "owner", text) is None


@given(times, nonces, st.integers(min_value=0, max_value=35))
def test_an_id_with_any_digit_changed_is_not_accepted(at: float, nonce: int, position: int) -> None:
    job = job_id(KEY, "owner", at, nonce)
    if job[position] == "-":
        return
    changed = job[:position] + ("0" if job[position] != "0" else "1") + job[position + 1 :]
    assert accepted_at(KEY, "owner", changed) is None


def test_an_id_in_capitals_is_another_text_and_not_accepted() -> None:
    job = job_id(KEY, "owner", 1.7e9, 0xABCDEF12)
    assert accepted_at(KEY, "owner", job.upper()) is None


@given(times, nonces, owners)
def test_an_id_made_with_an_older_key_is_accepted_until_that_is_removed(
    at: float, nonce: int, owner: str
) -> None:
    new = b"n" * 32
    before, after = job_id(KEY, owner, at, nonce), job_id((new, KEY), owner, at, nonce)
    assert accepted_at((new, KEY), owner, before) is not None
    assert accepted_at((new,), owner, before) is None
    assert accepted_at(new, owner, after) is not None
    assert accepted_at(KEY, owner, after) is None
