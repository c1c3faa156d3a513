"""Access tokens: what is believed, what never is, and what a verifier remembers."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from sluice_security.jose import MAX_TOKEN
from sluice_security.tokens import AuthorityUnavailable, InvalidToken, revocation_digest
from support.tokens import AUDIENCE, LocalAuthority

START = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authority(clock: Clock) -> LocalAuthority:
    return LocalAuthority(now=clock)


def segments(token: str) -> list[dict[str, Any]]:
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def encode(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def unsigned(authority: LocalAuthority, algorithm: str) -> str:
    header, claims = segments(authority.mint())
    return f"{encode({**header, 'alg': algorithm})}.{encode(claims)}."


def keyed_with_public_key(authority: LocalAuthority) -> str:
    header, claims = segments(authority.mint())
    # Made by hand: joserfc refuses to use a public key as a secret, an attacker does not.
    signed = f"{encode({**header, 'alg': 'HS256'})}.{encode(claims)}"
    mac = hmac.digest(authority.key.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def signed_by(authority: LocalAuthority, key: ECKey | RSAKey, algorithm: str, **header: Any) -> str:
    own, claims = segments(authority.mint())
    protected = {**own, "alg": algorithm, **header}
    return jws.serialize_compact(protected, json.dumps(claims), key, algorithms=[algorithm])


def bringing_its_own_key(authority: LocalAuthority) -> str:
    stranger = ECKey.generate_key("P-256")
    return signed_by(authority, stranger, "ES256", jwk=stranger.as_dict(private=False))


def with_raw_header(authority: LocalAuthority, **header: Any) -> str:
    own, claims = segments(authority.mint())
    return f"{encode({**own, **header})}.{encode(claims)}.{authority.mint().split('.')[2]}"


def with_raw_claims(authority: LocalAuthority, payload: bytes) -> str:
    header, _ = segments(authority.mint())
    return jws.serialize_compact(header, payload, authority.key, algorithms=["ES256"])


def tampered(authority: LocalAuthority) -> str:
    head, _, signature = authority.mint().split(".")
    _, claims = segments(authority.mint(scopes="files/read"))
    return f"{head}.{encode({**claims, 'scope': 'ops/*'})}.{signature}"


HOSTILE: dict[str, tuple[Callable[[LocalAuthority], str], str]] = {
    "alg none": (lambda a: unsigned(a, "none"), "bad_algorithm"),
    "alg None in other letters": (lambda a: unsigned(a, "nOnE"), "bad_algorithm"),
    "alg not a text": (lambda a: with_raw_header(a, alg=["ES256"]), "bad_algorithm"),
    "no signature": (lambda a: a.mint().rsplit(".", 1)[0] + ".", "bad_signature"),
    "two parts": (lambda a: a.mint().rsplit(".", 1)[0], "malformed"),
    "public key as a MAC's secret": (keyed_with_public_key, "bad_algorithm"),
    "RSA in the place of EC": (lambda a: signed_by(a, RSAKey.generate_key(2048), "RS256"), "bad_algorithm"),
    "another curve": (lambda a: signed_by(a, ECKey.generate_key("P-384"), "ES384"), "bad_algorithm"),
    "unknown crit": (lambda a: with_raw_header(a, crit=["x"], x=1), "bad_header"),
    "crit b64": (lambda a: with_raw_header(a, crit=["b64"], b64=False), "bad_header"),
    "its own key in the header": (bringing_its_own_key, "bad_header"),
    "key address in the header": (lambda a: a.mint(header={"jku": "https://evil.test/jwks"}), "bad_header"),
    "certificate in the header": (lambda a: a.mint(header={"x5c": ["MIIB"]}), "bad_header"),
    "no kid": (lambda a: a.mint(header={"kid": None}), "no_kid"),
    "kid not a text": (lambda a: with_raw_header(a, kid=7), "no_kid"),
    "unknown kid": (lambda a: a.mint(header={"kid": "another"}), "unknown_key"),
    "no typ": (lambda a: a.mint(header={"typ": None}), "wrong_type"),
    "typ of an id token": (lambda a: a.mint(header={"typ": "JWT"}), "wrong_type"),
    "foreign key of the same kid": (
        lambda a: a.mint(key=ECKey.generate_key("P-256", {"kid": "test-key"})),
        "bad_signature",
    ),
    "tampered claims": (tampered, "bad_signature"),
    "oversized": (lambda a: a.mint(filler="x" * MAX_TOKEN), "oversized"),
    "empty": (lambda _: "", "malformed"),
    "not a token": (lambda _: "Zm9v.YmFy", "malformed"),
    "not ASCII": (lambda _: "é.é.é", "malformed"),
    "lone surrogate": (lambda _: "\ud800.a.b", "malformed"),
    "header not an object": (lambda _: "W10.e30.AAAA", "malformed"),
    "header deeply nested": (
        lambda _: base64.urlsafe_b64encode(b"[" * 1500).rstrip(b"=").decode() + ".e30.AAAA",
        "malformed",
    ),
    "claims not an object": (lambda a: with_raw_claims(a, b"[]"), "bad_claims"),
    "claims not JSON": (lambda a: with_raw_claims(a, b"{"), "bad_claims"),
    "claims deeply nested": (lambda a: with_raw_claims(a, b'{"a":' + b"[" * 4000), "bad_claims"),
    "foreign issuer": (lambda a: a.mint(iss="https://other.test"), "wrong_issuer"),
    "issuer with a slash more": (lambda a: a.mint(iss=a.issuer + "/"), "wrong_issuer"),
    "another audience": (lambda a: a.mint(aud="https://other.test"), "wrong_audience"),
    "a list of audiences": (lambda a: a.mint(aud=[AUDIENCE, "https://other.test"]), "wrong_audience"),
    "no audience in a list": (lambda a: a.mint(aud=[]), "wrong_audience"),
    "expired": (lambda a: a.mint(lifetime=0), "expired"),
    "expired long ago": (lambda a: a.mint(iat=START - 900, exp=START - 600), "expired"),
    "expiry not a number": (lambda a: a.mint(exp="never"), "bad_claims"),
    "expiry infinite": (
        lambda a: with_raw_claims(a, b'{"exp":Infinity}'),
        "bad_claims",
    ),
    "no expiry": (lambda a: a.mint(exp=None), "bad_claims"),
    "issued in the future": (lambda a: a.mint(iat=START + 60), "not_yet_valid"),
    "not valid yet": (lambda a: a.mint(nbf=START + 60), "not_yet_valid"),
    "no id": (lambda a: a.mint(jti=None), "bad_claims"),
    "no subject": (lambda a: a.mint(sub=None), "bad_claims"),
    "no client": (lambda a: a.mint(client_id=None), "bad_claims"),
    "scope not a text": (lambda a: a.mint(scope=["ops/*"]), "bad_claims"),
    "unknown scope": (lambda a: a.mint(scopes="root"), "bad_claims"),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_a_hostile_token_is_refused_and_not_repeated(authority: LocalAuthority, case: str) -> None:
    make, code = HOSTILE[case]
    token = make(authority)
    verifier = authority.verifier()
    for _ in range(2):
        with pytest.raises(InvalidToken) as caught:
            await verifier.verify(token)
        assert caught.value.code == code
        assert len(caught.value.text) < 100
        assert len(token) < 10 or token not in caught.value.text


async def test_a_sound_token_names_client_subject_and_scopes(authority: LocalAuthority) -> None:
    token = authority.mint(client="portal", subject="ann", scopes="files/read system/*.read", jti="t1")
    principal = await authority.verifier().verify(token)
    assert (principal.client, principal.subject, principal.jti) == ("portal", "ann", "t1")
    assert (principal.issued, principal.expires) == (START, START + 300)
    assert "files/read" in principal.scopes
    assert "system/Patient.rs" in principal.scopes
    assert "files/write" not in principal.scopes


async def test_a_list_of_just_our_audience_is_accepted(authority: LocalAuthority) -> None:
    assert await authority.verifier().verify(authority.mint(aud=[AUDIENCE]))


async def test_a_remembered_token_still_expires(authority: LocalAuthority, clock: Clock) -> None:
    verifier, token = authority.verifier(), authority.mint(lifetime=300)
    await verifier.verify(token)
    clock.now += 299.9
    await verifier.verify(token)
    clock.now += 0.1
    for _ in range(2):
        with pytest.raises(InvalidToken, match="expired"):
            await verifier.verify(token)


async def test_a_revoked_token_is_refused_once_revocations_are_read_again(
    authority: LocalAuthority, clock: Clock
) -> None:
    verifier = authority.verifier(monotonic=clock)
    token, other = authority.mint(jti="gone"), authority.mint(jti="stays")
    await verifier.verify(token)
    authority.revoke("gone")
    clock.now += 6.1
    with pytest.raises(InvalidToken, match="revoked"):
        await verifier.verify(token)
    assert await verifier.verify(other)


async def test_a_started_verifier_learns_of_revocations_by_itself(authority: LocalAuthority) -> None:
    async with authority.verifier(refresh=0.01) as verifier:
        token = authority.mint(jti="gone")
        await verifier.verify(token)
        authority.revoke("gone")
        refusal = None
        while refusal is None:
            await asyncio.sleep(0.005)
            try:
                await verifier.verify(token)
            except InvalidToken as error:
                refusal = error.code
        assert refusal == "revoked"


async def test_revoking_a_client_voids_what_it_was_issued_before_and_nothing_after(
    authority: LocalAuthority, clock: Clock
) -> None:
    verifier = authority.verifier(monotonic=clock)
    before = authority.mint(client="portal")
    authority.void[revocation_digest("client", "portal")] = START
    clock.now += 1
    after = authority.mint(client="portal")
    with pytest.raises(InvalidToken, match="revoked"):
        await verifier.verify(before)
    assert await verifier.verify(after)
    assert await verifier.verify(authority.mint(client="another", iat=START))


async def test_a_new_key_is_found_without_a_restart_and_strangers_cannot_flood_the_authority(
    authority: LocalAuthority, clock: Clock
) -> None:
    verifier = authority.verifier(monotonic=clock)
    await verifier.verify(authority.mint())
    new = ECKey.generate_key("P-256", {"kid": "new"})
    authority.published.append(dict(new.as_dict(private=False)))
    clock.now += 2
    assert await verifier.verify(authority.mint(key=new))
    asked = authority.asked
    for number in range(20):
        with pytest.raises(InvalidToken, match="not issued"):
            await verifier.verify(authority.mint(header={"kid": f"stranger-{number}"}))
    assert authority.asked == asked


async def test_a_withdrawn_key_is_forgotten(authority: LocalAuthority, clock: Clock) -> None:
    verifier = authority.verifier(monotonic=clock)
    await verifier.verify(authority.mint())
    authority.published.clear()
    clock.now += 61
    with pytest.raises(InvalidToken, match="not issued"):
        await verifier.verify(authority.mint())


async def test_an_absent_authority_is_borne_for_a_while_and_then_is_no_longer(
    authority: LocalAuthority, clock: Clock
) -> None:
    verifier = authority.verifier(monotonic=clock, patience=120)
    await verifier.verify(authority.mint())
    authority.away = True
    clock.now += 100
    assert await verifier.verify(authority.mint())
    clock.now += 30
    with pytest.raises(AuthorityUnavailable):
        await verifier.verify(authority.mint())
    authority.away = False
    clock.now += 2
    assert await verifier.verify(authority.mint())


async def test_without_ever_reaching_the_authority_nothing_is_judged(authority: LocalAuthority) -> None:
    authority.away = True
    verifier = authority.verifier()
    for _ in range(2):
        with pytest.raises(AuthorityUnavailable):
            await verifier.verify(authority.mint())


async def test_remembered_tokens_are_bounded(authority: LocalAuthority) -> None:
    verifier = authority.verifier(size=10)
    for _ in range(30):
        await verifier.verify(authority.mint())
    assert len(verifier._seen) == 10


async def test_a_published_key_that_is_private_or_strange_is_left_out(authority: LocalAuthority) -> None:
    good = authority.published[0]
    authority.published[:] = [
        dict(ECKey.generate_key("P-256", {"kid": "leaked"}).as_dict(private=True)),
        {"kty": "AKP", "kid": "future"},
        {"kty": "EC", "kid": "broken", "crv": "P-256", "x": "AA", "y": "AA"},
        good,
    ]
    verifier = authority.verifier()
    assert await verifier.verify(authority.mint())
    assert set(verifier._known.keys) == {"test-key"}
