"""Parsers of tokens, keys, scopes, secrets and settings: read, or refused, and no more."""

from __future__ import annotations

import json
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey
from pydantic import ValidationError
from pydantic_settings import SettingsError

from sluice_auth import assertion
from sluice_auth.errors import OAuthError
from sluice_auth.metadata import _checked_keys as checked_keys
from sluice_auth.remote_keys import _usable as usable_keys
from sluice_security import jose
from sluice_security.guard import read_networks
from sluice_security.scopes import InvalidScopeError, Scopes
from sluice_security.sealing import read_secrets
from sluice_settings import UnreadableSettingError, explain, from_file
from support.fuzzing import bytes_near, json_values

SIGNER = ECKey.generate_key("P-384", {"kid": "k"})
CLAIMS = {"iss": "c", "sub": "c", "aud": "https://h.test/token", "exp": 150, "jti": "j"}
claims = st.fixed_dictionaries({}, optional=dict.fromkeys([*CLAIMS, "iat", "nbf"], json_values))


@pytest.mark.fuzz
@given(claims, json_values)
@example({"exp": 10**400}, None)
@example({"iat": -1e308, "jti": "\ud800"}, None)
def test_no_claims_that_a_client_signs_do_more_than_be_refused(changed: dict[str, Any], odd: Any) -> None:
    header = {"alg": "ES384", "kid": "k"}
    text = jws.serialize_compact(
        header, json.dumps({**CLAIMS, **changed, "x": odd}), SIGNER, algorithms=["ES384"]
    )
    keys = [SIGNER.as_dict(private=False)]
    with suppress(jose.RejectedError):
        proof = assertion.verify(text, keys, client="c", token_url="https://h.test/token", now=100.0)
        assert proof.forget_at < 500


numbers = st.text("AQab-_=", max_size=12)
jwk = st.fixed_dictionaries(
    {"kty": st.sampled_from(["EC", "RSA", "oct", "OKP"])},
    optional={
        "crv": st.sampled_from(["P-256", "P-384", "P-0"]) | json_values,
        "x": numbers | json_values,
        "y": numbers | json_values,
        "n": numbers | json_values,
        "e": st.just("AQAB") | json_values,
        "d": numbers,
        "kid": st.text(max_size=4) | json_values,
        "use": json_values,
        "key_ops": json_values,
        "alg": json_values,
    },
)


@pytest.mark.fuzz
@given(jwk | st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_no_key_does_more_than_be_refused(data: dict[str, Any]) -> None:
    with suppress(jose.RejectedError):
        jose.import_public(data)


@pytest.mark.fuzz
@given(st.lists(jwk, max_size=3))
@example([{"kid": "k", "kty": []}])
@example([{"kid": "k", "kty": "EC", "alg": []}])
def test_no_key_of_a_registration_does_more_than_be_refused(keys: list[dict[str, Any]]) -> None:
    with pytest.raises(OAuthError):
        checked_keys(keys)


KEYS = b'{"keys":[{"kty":"EC","kid":"a","use":"sig","crv":"P-256","x":"AQ","y":"AQ","key_ops":["verify"]}]}'


@pytest.mark.fuzz
@given(bytes_near(KEYS) | st.lists(jwk).map(lambda keys: json.dumps({"keys": keys}).encode()))
@example(b'{"keys":[{"kid":"k","kty":[],"alg":{}}]}')
def test_no_set_of_keys_does_more_than_be_left_out(body: bytes) -> None:
    # What its caller takes for "no keys there".
    with suppress(ValueError, RecursionError):
        assert all(isinstance(key["kid"], str) for key in usable_keys(body))


scope = st.from_regex(
    r"(system|patient|user|ops|files)/[A-Za-z*]{0,9}\.(read|[cruds*]{0,6})(\?[a-z=&|]{0,9})?"
)


@pytest.mark.fuzz
@given(st.text(max_size=40) | st.lists(scope, max_size=3).map(" ".join))
@example("a" * 100_000)
@example("system/*.rs?" + "&" * 1000)
def test_no_scope_does_more_than_be_refused(text: str) -> None:
    try:
        found = Scopes.parse(text)
    except InvalidScopeError as error:
        assert text not in str(error) or len(text) < 8  # noqa: PT017 - either is right
        return
    assert Scopes.parse(str(found)) == found


@pytest.mark.fuzz
@given(st.text(max_size=80) | st.binary(min_size=30, max_size=40).map(bytes.hex))
def test_no_secret_does_more_than_be_refused_and_is_not_told(text: str) -> None:
    try:
        found = read_secrets(text)
    except ValueError as error:
        assert len(text) < 30 or text not in str(error)  # noqa: PT017 - either is right
        return
    assert all(len(secret) >= 32 for secret in found)


@pytest.mark.fuzz
@given(st.text(max_size=30) | st.from_regex(r"([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,3}", fullmatch=True))
def test_no_network_does_more_than_be_refused(text: str) -> None:
    with suppress(ValueError):
        read_networks(text)


@pytest.mark.fuzz
@given(st.binary(max_size=40))
@example(b"a" * 70_000)
@example(b" \n")
def test_no_settings_file_does_more_than_be_refused_and_is_not_told(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = Path(tmp_path_factory.getbasetemp(), "setting")
    path.write_bytes(content)
    try:
        found = from_file("SLUICE_IT", {"SLUICE_IT_FILE": str(path)})
    except UnreadableSettingError as error:
        assert len(content) < 20 or content.decode(errors="replace") not in str(error)  # noqa: PT017 - either
        return
    assert found


SERVICES = ("attacher", "auth", "exporter", "fetcher", "gateway", "insight", "puller", "scraper", "webhooks")
odd = [
    "-1",
    "1e999",
    "\u00b2",
    "9" * 30,
    "nan",
    "http://[",
    "h:x",
    "h:\u00b2",
    "a=b",
    "{}",
    "127.0.0.1:99999",
]
values = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20) | st.sampled_from(odd)


@pytest.mark.fuzz
@pytest.mark.parametrize("service", SERVICES)
@given(data=st.data())
def test_no_settings_do_more_than_be_refused_and_are_not_told(service: str, data: st.DataObject) -> None:
    kind = import_module(f"sluice_{service}.settings").Settings
    given = {
        name: data.draw(values) for name in data.draw(st.sets(st.sampled_from(sorted(kind.model_fields))))
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(f"SLUICE_{name.upper()}", value)
        try:
            kind()
        except (ValidationError, SettingsError) as error:
            told = explain(error) if isinstance(error, ValidationError) else str(error)
            assert not any(len(value) > 20 and value in told for value in given.values())
