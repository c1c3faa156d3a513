"""Redirect addresses: which may be registered, and which match."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice_auth.redirects import check_redirect, is_loopback, matches, origin, policy_source, with_parameters

GOOD = [
    "https://portal.test/callback",
    "https://portal.test",
    "https://portal.test:8443/a/b?tenant=1",
    "https://xn--bcher-kva.test/cb",
    "http://127.0.0.1/cb",
    "http://127.0.0.1:8080/cb",
    "http://[::1]:8080/cb",
    "http://localhost:3000/cb",
]


@pytest.mark.parametrize("uri", GOOD)
def test_https_and_the_users_own_machine_may_be_registered(uri: str) -> None:
    check_redirect(uri)
    assert matches([uri], uri)


@pytest.mark.parametrize(
    "uri",
    [
        "", "/callback", "portal.test/cb", "http://portal.test/cb", "http://localhost.evil.test/cb",
        "http://127.0.0.1.evil.test/cb", "http://127.0.0.2/cb", "http://2130706433/cb", "javascript:alert(1)",
        "data:text/html,x", "file:///etc/passwd", "app.portal:/cb", "https:///cb", "https://",
        "https://portal.test/cb#fragment", "https://user@portal.test/cb", "https://user:pw@portal.test/cb",
        "https://@portal.test/cb", "https://*.portal.test/cb", "https://portal.test/*/../x",
        "https://portal.test/a/%2e%2e/b", "https://portal.test/a/.%2E/b", "https://portal.test/cb\n",
        "https://portal.test/cb\r\nX: y", "https://portal.test/ cb", "https://portal.test\\@evil.test/",
        "https://portal.test/é", "https://pörtal.test/", "https://portal.test:0/cb",
        "https://portal.test:99999/cb", "https://portal.test:x/cb", "https://[::1/cb", "https://portal.test;a/",
        "https://portal.test'/cb", "https://portal.test/cb?code=1", "https://portal.test/cb?a=1&state",
        "https://portal.test/cb?iss=https://other.test", "https://portal.test/" + "a" * 2_000,
    ],
)  # fmt: skip
def test_no_other_address_may_be_registered(uri: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_redirect(uri)
    assert uri == "" or uri not in str(caught.value)


@pytest.mark.parametrize(
    ("registered", "asked", "same"),
    [
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000/cb", True),
        ("http://127.0.0.1:80/cb", "http://127.0.0.1:50000/cb", True),
        ("http://[::1]/cb", "http://[::1]:50000/cb", True),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000/other", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000/cb?x=1", False),
        ("http://127.0.0.1/cb", "http://[::1]:50000/cb", False),
        ("http://127.0.0.1/cb", "http://localhost:50000/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000@evil.test/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:50000/cb#f", False),
        ("http://localhost/cb", "http://localhost:50000/cb", False),
        ("https://portal.test/cb", "https://portal.test:8443/cb", False),
        ("https://portal.test/cb", "https://portal.test:443/cb", False),
        ("https://portal.test/cb", "https://portal.test/cb/", False),
        ("https://portal.test/cb", "HTTPS://portal.test/cb", False),
        ("https://127.0.0.1/cb", "https://127.0.0.1:8443/cb", True),
    ],
)
def test_an_address_matches_to_the_letter_but_for_a_loopback_port(
    registered: str, asked: str, same: bool
) -> None:
    assert matches([registered], asked) is same


def test_nothing_matches_a_client_without_addresses() -> None:
    assert not matches([], "https://portal.test/cb")
    assert not matches([], "")


def test_the_policy_names_the_origin_and_nothing_that_could_break_out() -> None:
    assert policy_source("https://Portal.test:8443/a?b") == "https://portal.test:8443"
    assert policy_source("http://127.0.0.1:80/a") == "http://127.0.0.1:80"
    assert policy_source("http://[::1]:80/a") == "http:"
    assert origin("http://[::1]:80/a") == "http://[::1]:80"
    assert is_loopback("http://localhost/a")
    assert not is_loopback("https://portal.test/a")


@pytest.mark.fuzz
@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_whatever_may_be_registered_is_safe_in_a_header_and_a_policy(text: str) -> None:
    for uri in (text, f"https://{text}", f"https://portal.test/{text}", f"http://127.0.0.1{text}"):
        try:
            check_redirect(uri)
        except ValueError:
            continue
        assert uri.isascii()
        assert not set(uri) & set(' \t\r\n"<>\\#{}|^`')
        assert not set(policy_source(uri)) & set(" ;,'")


def test_what_is_told_is_encoded_and_what_is_not_there_is_left_out() -> None:
    told = with_parameters("https://portal.test/cb", {"state": "a b&code=x#", "error": None})
    assert told == "https://portal.test/cb?state=a+b%26code%3Dx%23"
    assert with_parameters("https://portal.test/cb?x=1", {"code": "c"}).endswith("?x=1&code=c")
