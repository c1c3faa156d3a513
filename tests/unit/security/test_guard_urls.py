"""A request stays at or below what an operator registered, however its URL is spelled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_contracts.errors import ItemError
from sluice_security.failure import SourceFailure
from sluice_security.guard_urls import Allowlist, Prefix, UrlRefusedError, parse_url

BASE = "https://fhir.example.org/r4"
ALLOWED = Allowlist((Prefix.parse(BASE), Prefix.parse("https://cdn.example.org:8443/files/")))


@pytest.mark.parametrize(
    "url",
    [
        "https://fhir.example.org/r4",
        "https://fhir.example.org/r4/Patient/1",
        "https://FHIR.example.org:443/r4/Patient/1?_format=json",
        "https://fhir.example.org/r4/a/../Patient/1",
        "https://cdn.example.org:8443/files/a%2Fb",
    ],
)
def test_what_is_below_a_registered_place_is_allowed(url: str) -> None:
    assert ALLOWED.check(url).raw_host


@pytest.mark.parametrize(
    "url",
    [
        "http://fhir.example.org/r4/Patient/1",
        "https://fhir.example.org/r4x/Patient/1",
        "https://fhir.example.org/r4/../admin",
        "https://fhir.example.org/r4/%2e%2e/admin",
        "https://fhir.example.org/r4/..%2fadmin",
        "https://fhir.example.org/r4/%2e%2e%5cadmin",
        "https://fhir.example.org/r4/..;/admin",
        "https://fhir.example.org/r4/..;a=b/admin",
        "https://fhir.example.org/r4/%2e%2e;/admin",
        "https://fhir.example.org/r4/..%3b/admin",
        "https://fhir.example.org/r4/%252e%252e/admin",
        "https://fhir.example.org/r4/x%252f..%252fadmin",
        "https://fhir.example.org/r4/..\\admin",
        "https://fhir.example.org/",
        "https://fhir.example.org:8443/r4/Patient/1",
        "https://fhir.example.org.evil.org/r4/Patient/1",
        "https://fhir.example.org@evil.org/r4/Patient/1",
        "https://user:pass@fhir.example.org/r4/Patient/1",
        "https://@fhir.example.org/r4/Patient/1",
        "https://fhir.example.org\\@evil.org/r4/1",
        "https://evil.org/https://fhir.example.org/r4/1",
        "https://cdn.example.org/files/x",
        "https://fhir.example.org./r4/Patient/1",
        "//fhir.example.org/r4/Patient/1",
        "file:///etc/passwd",
        "ftp://fhir.example.org/r4/1",
        "javascript:alert(1)",
        "https://fhir.example.org/r4/Patient/1\r\nX: y",
        "https://fhir.example.org/r4/ Patient/1",
        " https://fhir.example.org/r4/Patient/1",
        "https://fhir.example.org/r4/" + "a" * 9000,
        "https://[::1]/r4/Patient/1",
        "https://[fe80::1%25eth0]/r4/1",
        "https://127.0.0.1/r4/Patient/1",
        "https://2130706433/r4/Patient/1",
        "https:///r4/Patient/1",
        "https://",
        "",
    ],
)
def test_what_is_not_below_a_registered_place_is_refused(url: str) -> None:
    with pytest.raises(SourceFailure) as caught:
        ALLOWED.check(url)
    assert caught.value.code is ItemError.SOURCE_ADDRESS_REFUSED
    assert not caught.value.retry


@pytest.mark.fuzz
@given(st.text(max_size=80))
def test_no_text_leads_outside(text: str) -> None:
    for url in (text, BASE + text, f"{BASE}/{text}", f"https://fhir.example.org{text}"):
        try:
            checked = ALLOWED.check(url)
        except SourceFailure:
            continue
        assert checked.scheme == "https"
        assert (checked.raw_host, checked.port) == ("fhir.example.org", 443)
        assert checked.raw_path == "/r4" or checked.raw_path.startswith("/r4/")
        assert ".." not in checked.path.replace("\\", "/").split("/")
        assert checked.user is None


@given(st.text(max_size=60))
def test_what_is_read_once_is_read_alike_again(text: str) -> None:
    try:
        once = parse_url(f"https://h.example/{text}")
    except UrlRefusedError:
        return
    assert parse_url(str(once)) == once


def test_a_fragment_is_dropped() -> None:
    assert str(parse_url("https://h.example/a#b")) == "https://h.example/a"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("https://H.example/r4/", "https://h.example/r4"),
        ("https://h.example:443", "https://h.example"),
        ("https://h.example:8443/a/b", "https://h.example:8443/a/b"),
    ],
)
def test_a_registered_place_has_one_spelling(text: str, place: str) -> None:
    assert Prefix.parse(text).url.rstrip("/") == place


@pytest.mark.parametrize(
    "text",
    [
        "http://h.example/r4",
        "http://127.0.0.1:8080/fhir",
        "https://127.0.0.1/fhir",
        "https://localhost/fhir",
        "https://h.example/r4?x=1",
        "https://h.example/r4?",
        "https://h.example/r4#x",
        "https://u@h.example/r4",
        "h.example/r4",
    ],
)
def test_an_unfit_place_is_not_registered(text: str) -> None:
    with pytest.raises(UrlRefusedError):
        Prefix.parse(text)


def test_loopback_places_need_the_setting_and_others_stay_https() -> None:
    assert Prefix.parse("http://127.0.0.1:8080/fhir", loopback=True).port == 8080
    assert Prefix.parse("http://localhost:8080/fhir", loopback=True).host == "localhost"
    for text in ("http://h.example/r4", "http://10.0.0.1/r4", "http://0.0.0.0/r4"):
        with pytest.raises(UrlRefusedError):
            Prefix.parse(text, loopback=True)


def test_a_refusal_says_nothing_of_the_url() -> None:
    with pytest.raises(SourceFailure) as caught:
        ALLOWED.check("https://evil.example/secret?patient=1", 302)
    assert str(caught.value) == "source_address_refused (source status 302)"
