"""Addresses of attachments come out absolute, whatever else a line holds, and nothing else is changed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_exporter.attachments import Attachments

BASE = r"https://example.org/a\1/fhir"
ATTACHMENTS = Attachments(BASE + "/")
TEXTS = st.sampled_from(
    [
        "Binary/x",
        '"url":"Binary/x"',
        r"\"url\":\"Binary/x",
        "http://a/Binary/x",
        "",
        "url",
        '","url":"Binary/',
    ]
) | st.text(max_size=5)
JSON = st.recursive(
    TEXTS | st.integers() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["url", "attachment", "reference", "data"]), inner, max_size=3)
    ),
    max_leaves=10,
)


def expected(value: Any) -> Any:
    """Do the same to a decoded resource."""
    if isinstance(value, dict):
        return {
            key: f"{BASE}/{each}"
            if key == "url" and isinstance(each, str) and each.startswith("Binary/")
            else expected(each)
            for key, each in value.items()
        }
    return [expected(each) for each in value] if isinstance(value, list) else value


@given(content=st.lists(JSON, min_size=1, max_size=3))
def test_only_relative_addresses_are_changed_and_lines_stay_lines(content: list[Any]) -> None:
    resources = [{"resourceType": "DocumentReference", "content": each} for each in content]
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in resources)
    changed = ATTACHMENTS.absolute("DocumentReference", lines)
    assert [msgspec.json.decode(line) for line in changed.splitlines()] == expected(resources)


def test_an_address_is_found_in_any_way_that_json_writes_it() -> None:
    for line in (
        b'{"url" : "Binary\\/x"}\n',
        b'{"url":\t"Binary/x"}\n',
        b'{"title":"\\\\","url":"Binary/x"}\n',
    ):
        (changed,) = ATTACHMENTS.absolute("Media", line).splitlines()
        assert msgspec.json.decode(changed)["url"] == f"{BASE}/Binary/x"


@pytest.mark.parametrize(
    ("type_", "line"),
    [
        ("Observation", b'{"subject":{"reference":"Binary/x"}}\n'),
        ("Bundle", b'{"entry":[{"request":{"method":"DELETE","url":"Binary/x"}}]}\n'),
        ("Patient", b'{"photo":[{"url":"http://source/fhir/Binary/x"}]}\n'),
    ],
)
def test_what_is_no_relative_address_of_an_attachment_stays(type_: str, line: bytes) -> None:
    assert ATTACHMENTS.absolute(type_, line) == line
