"""What is handed over with a submitted manifest: how it is read from files, and said to the service."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sluice_client import ContentKey, KeyFileError, SluiceError, SubmissionAccess
from sluice_client.submission_access import header_fields
from sluice_security.content_keys import DeliveredKeys

KEY = bytes(range(32))
SECRET = b"s" * 32
TOKEN = "a-token-of-the-submitter"


def jwk(key: bytes) -> bytes:
    return json.dumps({"kty": "oct", "k": base64.urlsafe_b64encode(key).rstrip(b"=").decode()}).encode()


@pytest.fixture
def service() -> DeliveredKeys:
    return DeliveredKeys((SECRET,))


@pytest.mark.parametrize("held", [KEY, jwk(KEY), jwk(KEY) + b"\n"], ids=["bytes", "jwk", "with a line's end"])
def test_a_key_is_read_from_a_file_and_only_the_service_can_open_it(
    tmp_path: Path, service: DeliveredKeys, held: bytes
) -> None:
    path = tmp_path / "content.key"
    path.write_bytes(held)
    key = ContentKey.read(path)
    delivered = key.delivered([{"alg": "RS256", "kty": "RSA"}, service.published()])
    assert service.open(delivered) == KEY
    path.write_text(delivered + "\n")
    assert ContentKey.read(path).delivered([]) == delivered


@pytest.mark.parametrize(
    "held",
    [b"", b"short", KEY + b"\n", jwk(b"short"), b'{"kty":"oct","k":1}', b'["k"]', b"eyJ.a.b", b"\xff" * 9],
)
def test_what_is_no_key_is_refused_without_a_word_of_it(tmp_path: Path, held: bytes) -> None:
    path = tmp_path / "content.key"
    path.write_bytes(held)
    with pytest.raises(KeyFileError, match=r"content\.key holds no key for contents") as refused:
        ContentKey.read(path)
    assert "short" not in str(refused.value)
    with pytest.raises(KeyFileError, match="cannot be read"):
        ContentKey.read(tmp_path / "none")


@pytest.mark.parametrize("published", [[], [{"alg": "RS256"}], [{"alg": "ECDH-ES+A256KW", "kty": "EC"}]])
def test_without_a_key_to_encrypt_it_for_none_is_sent(published: list[dict[str, str]]) -> None:
    with pytest.raises(SluiceError, match="publishes no key"):
        ContentKey(KEY).delivered(published)


def test_header_fields_are_lines() -> None:
    text = f"Authorization: Bearer {TOKEN}\r\n\nX-Api-Key:k:1\n"
    assert header_fields(text) == {"Authorization": f"Bearer {TOKEN}", "X-Api-Key": "k:1"}


@pytest.mark.parametrize("line", [TOKEN, f": {TOKEN}", "X-Api-Key:", f"x-one: {TOKEN}"])
def test_what_is_no_header_field_is_refused_without_a_word_of_it(line: str) -> None:
    with pytest.raises(SluiceError, match="Line 2 ") as refused:
        header_fields(f"X-One: 1\n{line}\n")
    assert TOKEN not in str(refused.value)


def test_secrets_are_in_no_representation() -> None:
    access = SubmissionAccess(headers={"x": TOKEN}, key=ContentKey(KEY))
    assert TOKEN not in repr(access)
    assert repr(KEY) not in repr(access.key)
