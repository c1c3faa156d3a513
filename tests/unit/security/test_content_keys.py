"""Keys that submitters deliver, and contents that are encrypted with them."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey, OctKey

from sluice_security.content_keys import DeliveredKeys, NotDecryptedError, decrypt, is_encrypted
from support.fuzzing import bytes_near

OLD, NEW = b"o" * 32, b"n" * 32
KEY = bytes(range(32))
OPENING = DeliveredKeys(NEW)
JWK = OctKey.import_key(KEY).as_dict()


def delivered(keys: DeliveredKeys, payload: bytes = KEY, **header: Any) -> str:
    public = keys.published()
    protected = {"alg": public["alg"], "enc": "A256GCM", "kid": public["kid"], **header}
    return jwe.encrypt_compact(protected, payload, ECKey.import_key(public))


def closed(content: bytes = b"content", key: bytes = KEY, **header: Any) -> bytes:
    protected = {"alg": "dir", "enc": "A256GCM", **header}
    return jwe.encrypt_compact(
        protected, content, OctKey.import_key(key), algorithms=["dir", "A256GCM", "A128GCM", "DEF"]
    ).encode()


def altered(content: bytes) -> bytes:
    return content[:-10] + (b"A" if content[-10:-9] != b"A" else b"B") + content[-9:]


@pytest.mark.parametrize(
    "payload",
    [KEY, json.dumps(JWK).encode(), json.dumps({"k": JWK["k"]}).encode()],
    ids=["bytes", "a JWK", "its member alone"],
)  # fmt: skip
def test_a_key_is_had_as_it_was_delivered(payload: bytes) -> None:
    keys = DeliveredKeys(NEW)
    assert keys.open(delivered(keys, payload)) == KEY
    assert keys.open(delivered(keys, payload, alg="ECDH-ES")) == KEY


@pytest.mark.parametrize("first", [b"{", b'{"k":', b"["])
def test_bytes_of_a_key_may_look_like_json(first: bytes) -> None:
    keys, key = DeliveredKeys(NEW), (first + KEY)[:32]
    assert keys.open(delivered(keys, key)) == key


def test_the_published_key_is_public_the_same_everywhere_and_another_under_another_secret() -> None:
    published = DeliveredKeys(NEW).published()
    assert set(published) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert published == DeliveredKeys((NEW, OLD)).published()
    assert published["kid"] != DeliveredKeys(OLD).published()["kid"]


def test_while_the_secret_is_replaced_keys_for_the_old_one_open_too() -> None:
    before = delivered(DeliveredKeys(OLD))
    assert DeliveredKeys((NEW, OLD)).open(before) == KEY
    with pytest.raises(NotDecryptedError):
        DeliveredKeys(NEW).open(before)


@pytest.mark.parametrize(
    "text",
    [
        "", "....", "a.b.c.d.e", "x" * 100,
        delivered(DeliveredKeys(NEW), b"short"),
        delivered(DeliveredKeys(NEW), b'{"kty":"EC","k":"AAAA"}'),
        delivered(DeliveredKeys(NEW), b'{"k":17}'),
        delivered(DeliveredKeys(NEW), b'{"k":"\xff"}'),
        delivered(DeliveredKeys(OLD)),
        closed(KEY).decode(),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_delivers_no_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(NotDecryptedError) as caught:
        DeliveredKeys(NEW).open(text)
    assert len(str(caught.value)) < 60


def test_contents_are_decrypted_whatever_their_length() -> None:
    content = b"line\n" * 100_000
    assert is_encrypted(closed(content))
    assert decrypt(closed(content) + b"\n", KEY) == content
    assert decrypt(closed(b""), KEY) == b""
    assert decrypt(closed(key=KEY[:16], enc="A128GCM"), KEY[:16]) == b"content"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b'{"resourceType":"Patient"}\n', b"a.b.c.d.e", closed()[:-1], altered(closed()),
        closed(key=bytes(32)), closed(zip="DEF"), delivered(DeliveredKeys(NEW)).encode(), b"\xff\x00" * 9,
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_not_encrypted_directly_with_the_key_is_refused(content: bytes) -> None:
    with pytest.raises(NotDecryptedError):
        decrypt(content, KEY)


HEADERS = st.dictionaries(
    st.sampled_from(["alg", "enc", "epk", "apu", "zip", "crit", "kid", "cty", "p2c", "iv", "tag"]),
    st.sampled_from(
        ["dir", "ECDH-ES", "ECDH-ES+A256KW", "PBES2-HS256+A128KW", "A256GCM", "DEF", 7, None, [], {}, [1]]
    )
    | st.just({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
)


@pytest.mark.fuzz
@given(st.one_of(HEADERS, st.integers(), st.text(max_size=9)), st.lists(st.binary(max_size=40), max_size=5))
def test_no_text_does_more_than_hold_no_key_and_no_content(header: Any, parts: list[bytes]) -> None:
    texts = [base64.urlsafe_b64encode(each).rstrip(b"=") for each in (json.dumps(header).encode(), *parts)]
    text = b".".join(texts)
    with pytest.raises(NotDecryptedError):
        OPENING.open(text.decode())
    with pytest.raises(NotDecryptedError):
        decrypt(text, KEY)


@pytest.mark.parametrize("depth", [90, 5000, 90_000])
def test_no_depth_of_a_header_does_more_than_hold_no_content(depth: int) -> None:
    text = base64.urlsafe_b64encode(b'{"alg":"dir","x":' + b"[" * depth).rstrip(b"=") + b"...."
    with pytest.raises(NotDecryptedError):
        decrypt(text, KEY)
    with pytest.raises(NotDecryptedError):
        OPENING.open(text.decode())


@pytest.mark.fuzz
@given(bytes_near(json.dumps(JWK).encode(), KEY))
@example(b'{"k":' + b"[" * 5000)
@example(b'{"kty":[],"k":""}')
def test_nothing_that_is_delivered_does_more_than_be_a_key_or_be_refused(payload: bytes) -> None:
    with suppress(NotDecryptedError):
        assert len(OPENING.open(delivered(OPENING, payload))) in (16, 32, 64)
