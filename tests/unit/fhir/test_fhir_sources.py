"""A source is registered in one spelling, with all that is wrong with it told at once."""

from __future__ import annotations

import pytest
from joserfc import jwk

from sluice_fhir.source_auth import (
    AssertionAlgorithm,
    BackendServicesAuth,
    ClientCredentialsAuth,
    public_jwk,
)
from sluice_fhir.sources import InvalidSourceError, Source, SourceDraft, best_match, checked_source
from sluice_fhir.submitted import permitted_headers
from sluice_security.guard_urls import Prefix


def check(draft: SourceDraft, *, loopback: bool = False) -> Source:
    return checked_source(draft, source_id="s1", revision=1, loopback=loopback)


def problems(draft: SourceDraft) -> list[str]:
    with pytest.raises(InvalidSourceError) as caught:
        check(draft)
    return [problem.field for problem in caught.value.problems]


def test_a_source_has_one_spelling() -> None:
    source = check(
        SourceDraft(
            name=" Hospital ",
            base_url="https://FHIR.example.org:443/r4/",
            attachment_prefixes=("https://CDN.example.org/files/",),
            content_types=("Application/PDF", "image/*"),
        )
    )
    assert (source.name, source.base_url) == ("Hospital", "https://fhir.example.org/r4")
    assert source.attachment_prefixes == ("https://cdn.example.org/files",)
    assert source.content_types == ("application/pdf", "image/*")


@pytest.mark.parametrize(
    "name",
    ["", "a b", "x\r\ny", "x:y", "é", "Host", "content-length", "Transfer-Encoding", "Accept-Encoding",
     "Range", "If-Range", "X-Forwarded-For", "Forwarded", "Proxy-Authorization", "X-HTTP-Method-Override",
     "x" * 101],
)  # fmt: skip
def test_no_header_field_of_which_we_say_what_it_says_can_be_permitted(name: str) -> None:
    draft = SourceDraft(name="a", base_url="https://fhir.example", request_headers=("X-Api-Key", name))
    assert problems(draft) == ["request_headers[1]"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ([("X-Api-Key", "k")], {"x-api-key": "k"}),
        ([("authorization", "Basic abc=")], {"authorization": "Basic abc="}),
        ([("x-api-key", "k"), ("X-API-KEY", "l")], None),
        ([("x-other", "k")], None),
        ([("x-api-key", "k\r\nHost: x")], None),
        ([("x-api-key", "k\0")], None),
        ([("x-api-key", "k" * 5000)], None),
        ([("x-api-key", "ü")], None),
    ],
)
def test_only_permitted_header_fields_are_sent_and_values_are_not_repeated(
    given: list[tuple[str, str]], sent: dict[str, str] | None
) -> None:
    names = ("X-Api-Key", "Authorization", "x-api-key")
    source = check(SourceDraft(name="a", base_url="https://fhir.example", request_headers=names))
    assert source.request_headers == ("authorization", "x-api-key")
    if sent is not None:
        assert permitted_headers(given, source) == sent
        return
    with pytest.raises(ValueError, match=r"header field|operators") as caught:
        permitted_headers(given, source)
    assert not any(value[:8] in str(caught.value) for _, value in given if len(value) > 1)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    auth = ClientCredentialsAuth(token_url="http://t.example/token", client_id="c", client_secret="s")
    found = problems(
        SourceDraft(
            name="  ",
            base_url="http://fhir.example.org/r4",
            auth=auth,
            max_requests_per_second=0,
            max_concurrency=0,
            attachment_prefixes=("https://ok.example", "ftp://x"),
            content_types=("pdf", "image/*"),
        )
    )
    assert found == [
        "base_url",
        "attachment_prefixes[1]",
        "auth.token_url",
        "name",
        "max_requests_per_second",
        "max_concurrency",
        "content_types[0]",
    ]


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_senseless_rate_is_refused(rate: float) -> None:
    draft = SourceDraft(name="x", base_url="https://h.example", max_requests_per_second=rate)
    assert problems(draft) == ["max_requests_per_second"]


def test_a_source_on_this_machine_needs_the_setting() -> None:
    draft = SourceDraft(name="x", base_url="http://127.0.0.1:8080/fhir")
    assert problems(draft) == ["base_url"]
    assert check(draft, loopback=True).base_url == "http://127.0.0.1:8080/fhir"


def test_backend_services_get_a_key_of_their_own() -> None:
    auth = BackendServicesAuth(token_url="https://t.example/token", client_id="c")
    source = check(SourceDraft(name="x", base_url="https://h.example", auth=auth))
    assert isinstance(source.auth, BackendServicesAuth)
    public = public_jwk(source.auth)
    assert public is not None
    assert (public["kty"], public["crv"], public["alg"], public["use"]) == ("EC", "P-384", "ES384", "sig")


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        (AssertionAlgorithm.ES384, {}),
        (AssertionAlgorithm.ES384, {"kty": "oct", "k": "AAAA"}),
        (AssertionAlgorithm.ES384, jwk.ECKey.generate_key("P-256").as_dict(private=True)),
        (AssertionAlgorithm.ES384, jwk.ECKey.generate_key("P-384").as_dict(private=False)),
        (AssertionAlgorithm.ES384, jwk.RSAKey.generate_key(2048).as_dict(private=True)),
        (AssertionAlgorithm.RS384, jwk.ECKey.generate_key("P-384").as_dict(private=True)),
        (AssertionAlgorithm.RS384, jwk.RSAKey.generate_key(2048).as_dict(private=False)),
    ],
)
def test_a_key_that_cannot_sign_is_refused(algorithm: AssertionAlgorithm, key: dict[str, object]) -> None:
    auth = BackendServicesAuth(
        token_url="https://t.example/token", client_id="c", algorithm=algorithm, key=key
    )
    assert problems(SourceDraft(name="x", base_url="https://h.example", auth=auth)) == ["auth.key"]


def test_the_longest_base_url_wins() -> None:
    sources = [
        (Prefix.parse(base), Source(id=name, name=name, base_url=base))
        for name, base in (
            ("root", "https://h.example"),
            ("r4", "https://h.example/r4"),
            ("tenant", "https://h.example/r4/t1"),
        )
    ]

    def match(url: str) -> str | None:
        found = best_match(sources, url)
        return found.id if found else None

    assert match("https://H.example:443/r4/t1/DocumentReference/1") == "tenant"
    assert match("https://h.example/r4/t12/DocumentReference/1") == "r4"
    assert match("https://h.example/r5/DocumentReference/1") == "root"
    assert match("http://h.example/r4/DocumentReference/1") is None
    assert match("https://other.example/r4/DocumentReference/1") is None
    assert match("not a url") is None


def test_content_types_are_a_policy() -> None:
    source = Source(
        id="s", name="s", base_url="https://h.example", content_types=("application/pdf", "image/*")
    )
    assert source.permits("Application/PDF; version=1")
    assert source.permits("image/png")
    assert not source.permits("text/html")
    assert not source.permits("")
    assert Source(id="s", name="s", base_url="https://h.example").permits("anything/at-all")


def test_attachments_are_resolved_against_the_service() -> None:
    source = Source(id="s", name="s", base_url="https://h.example/r4")
    assert source.resolve("Binary/1") == "https://h.example/r4/Binary/1"
    assert source.resolve("https://cdn.example/x") == "https://cdn.example/x"
    assert source.resolve("/x") == "https://h.example/x"
