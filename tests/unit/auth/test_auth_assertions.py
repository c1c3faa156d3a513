"""Backend Services assertions: each rule of the specification, broken one at a time."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from sluice_auth.settings import Settings
from sluice_security.jose import MAX_TOKEN
from sluice_security.keys import make_key_pair
from support.auth_server import TOKEN_URL, KeyClient, auth_server

DAY = 86_400


@pytest.mark.parametrize("algorithm", ["RS384", "ES384"])
async def test_a_client_gets_a_token_for_an_assertion_signed_with_its_key(algorithm: str) -> None:
    async with auth_server() as server:
        client = KeyClient(algorithm)
        await client.sign_up(server)
        answer = await server.ask(client.form(client.assertion(server.clock())))
        assert answer["scope"] == "bulk/import"
        again = client.form(client.assertion(server.clock(), aud=[TOKEN_URL]), client_id=client.id)
        assert await server.ask(again)


async def test_an_assertion_may_leave_out_its_typ() -> None:
    async with auth_server() as server:
        client = KeyClient("ES384")
        await client.sign_up(server)
        assertion = client.assertion(server.clock(), header={"typ": None})
        assert "typ" not in parts(assertion)[0]
        assert (await server.ask(client.form(assertion)))["scope"] == "bulk/import"


def encode(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return header, claims


def rewritten(token: str, sign: Callable[[str], str] = lambda _: "", **header: Any) -> str:
    head, claims = parts(token)
    signed = f"{encode({**head, **header})}.{encode(claims)}"
    return f"{signed}.{sign(signed)}"


def tampered(token: str) -> str:
    header, claims = parts(token)
    return f"{encode(header)}.{encode({**claims, 'jti': 'another'})}.{token.split('.')[2]}"


Make = Callable[[KeyClient, float], str]


def keyed_with_public_key(client: KeyClient, now: float) -> str:
    public = client.key.as_pem(private=False)

    def sign(text: str) -> str:
        mac = hmac.digest(public, text.encode(), "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    return rewritten(client.assertion(now), sign, alg="HS256")


def stranger(client: KeyClient, now: float, **header: Any) -> str:
    key = ECKey.generate_key("P-384", {"kid": "k1"})
    return client.assertion(now, key=key, header=header)


BROKEN: dict[str, tuple[Make, str]] = {
    "alg none": (lambda c, now: rewritten(c.assertion(now), alg="none"), "algorithm"),
    "unsigned": (lambda c, now: c.assertion(now).rsplit(".", 1)[0] + ".", "signature does not verify"),
    "public key as a MAC's secret": (keyed_with_public_key, "algorithm"),
    "ES256": (
        lambda c, now: c.assertion(now, alg="ES256", key=ECKey.generate_key("P-256", {"kid": "k1"})),
        "algorithm",
    ),
    "RS256": (
        lambda c, now: c.assertion(now, alg="RS256", key=RSAKey.generate_key(2048, {"kid": "k1"})),
        "algorithm",
    ),
    "PS384": (
        lambda c, now: c.assertion(now, alg="PS384", key=RSAKey.generate_key(2048, {"kid": "k1"})),
        "algorithm",
    ),
    "RS384 with the id of an EC key": (
        lambda c, now: c.assertion(now, alg="RS384", key=RSAKey.generate_key(2048, {"kid": "k1"})),
        "registered key",
    ),
    "unknown crit": (lambda c, now: rewritten(c.assertion(now), crit=["x"], x=1), "header parameter"),
    "its own key in the header": (
        lambda c, now: stranger(c, now, jwk=ECKey.generate_key("P-384").as_dict(private=False)),
        "header parameter",
    ),
    "certificate in the header": (
        lambda c, now: c.assertion(now, header={"x5c": ["MIIB"]}),
        "header parameter",
    ),
    "jku that was not registered": (
        lambda c, now: c.assertion(now, header={"jku": "https://evil.test/k"}),
        "jku",
    ),
    "meant for something else": (
        lambda c, now: c.assertion(now, header={"typ": "at+jwt"}),
        "not a token of this kind",
    ),
    "no kid": (lambda c, now: c.assertion(now, header={"kid": None}), "name its key"),
    "unknown kid": (lambda c, now: c.assertion(now, header={"kid": "k2"}), "registered key"),
    "foreign key of the same kid": (stranger, "signature does not verify"),
    "tampered": (lambda c, now: tampered(c.assertion(now)), "signature does not verify"),
    "oversized": (lambda c, now: c.assertion(now, filler="x" * MAX_TOKEN), "too large"),
    "not a JWT": (lambda _c, _now: "abc", "not a signed token"),
    "no iss": (lambda c, now: c.assertion(now, iss=None), "iss and sub"),
    "iss of another client": (lambda c, now: c.assertion(now, iss="zebra"), "iss and sub"),
    "sub of another client": (lambda c, now: c.assertion(now, sub="zebra"), "iss and sub"),
    "iss and sub of an unknown client": (
        lambda c, now: c.assertion(now, iss="zebra", sub="zebra"),
        "no client with",
    ),
    "aud of the issuer": (
        lambda c, now: c.assertion(now, aud=TOKEN_URL.removesuffix("/oauth/token")),
        "aud must be",
    ),
    "aud of another server": (
        lambda c, now: c.assertion(now, aud="https://other.test/oauth/token"),
        "aud must be",
    ),
    "aud with a slash more": (lambda c, now: c.assertion(now, aud=TOKEN_URL + "/"), "aud must be"),
    "aud list with another server": (
        lambda c, now: c.assertion(now, aud=[TOKEN_URL, "https://other.test"]),
        "aud must be",
    ),
    "aud list with us twice": (lambda c, now: c.assertion(now, aud=[TOKEN_URL, TOKEN_URL]), "aud must be"),
    "no aud": (lambda c, now: c.assertion(now, aud=None), "claim is missing"),
    "exp a day ahead": (lambda c, now: c.assertion(now, exp=now + DAY), "five minutes"),
    "exp a little over five minutes ahead": (lambda c, now: c.assertion(now, exp=now + 330), "five minutes"),
    "exp past": (lambda c, now: c.assertion(now, exp=now - 30), "expired"),
    "no exp": (lambda c, now: c.assertion(now, exp=None), "claim is missing"),
    "exp a text": (lambda c, now: c.assertion(now, exp="soon"), "claim is missing"),
    "exp true": (lambda c, now: c.assertion(now, exp=True), "claim is missing"),
    "issued tomorrow": (lambda c, now: c.assertion(now, iat=now + DAY), "not valid yet"),
    "not valid yet": (lambda c, now: c.assertion(now, nbf=now + 60), "not valid yet"),
    "no jti": (lambda c, now: c.assertion(now, jti=None), "claim is missing"),
    "empty jti": (lambda c, now: c.assertion(now, jti=""), "jti is"),
    "jti a number": (lambda c, now: c.assertion(now, jti=7), "claim is missing"),
    "endless jti": (lambda c, now: c.assertion(now, jti="x" * 2000), "jti is"),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_an_assertion_that_breaks_a_rule_is_refused_and_not_repeated(case: str) -> None:
    async with auth_server() as server:
        client = KeyClient()
        await client.sign_up(server)
        make, reason = BROKEN[case]
        assertion = make(client, server.clock())
        answer = await server.ask(client.form(assertion), 401)
        assert answer["error"] == "invalid_client"
        assert reason in answer["error_description"]
        for secret in (client.id, "evil", "zebra"):
            assert secret not in answer["error_description"]
        assert await server.ask(client.form(client.assertion(server.clock())))


async def test_an_assertion_is_good_once_also_when_what_it_asked_for_was_refused() -> None:
    async with auth_server() as server:
        client = KeyClient()
        await client.sign_up(server)
        assertion = client.assertion(server.clock())
        assert (await server.ask(client.form(assertion, scope="ops/*"), 400))["error"] == "invalid_scope"
        assert "before" in (await server.ask(client.form(assertion), 401))["error_description"]


async def test_of_many_uses_at_once_just_one_is_good() -> None:
    async with auth_server() as server:
        client = KeyClient()
        await client.sign_up(server)
        form = client.form(client.assertion(server.clock()))

        async def use() -> int:
            async with server.http.post("/oauth/token", data=form) as answer:
                return answer.status

        statuses = await asyncio.gather(*(use() for _ in range(8)))
        assert sorted(statuses) == [200] + [401] * 7


async def test_two_clients_may_use_the_same_jti() -> None:
    async with auth_server() as server:
        for client in (KeyClient(), KeyClient()):
            await client.sign_up(server)
            assert await server.ask(client.form(client.assertion(server.clock(), jti="1")))


async def test_a_used_assertion_is_remembered_for_as_long_as_it_is_valid() -> None:
    async with auth_server() as server:
        client = KeyClient()
        await client.sign_up(server)
        assertion = client.assertion(server.clock(), exp=server.clock() + 300)
        await server.ask(client.form(assertion))
        while server.clock() < 305 + parts(assertion)[1]["exp"] - 300:
            await server.store.forget(server.clock())
            await server.ask(client.form(assertion), 401)
            server.clock.advance(31)


async def test_another_client_id_in_the_form_is_refused() -> None:
    async with auth_server() as server:
        client = KeyClient()
        await client.sign_up(server)
        form = client.form(client.assertion(server.clock()), client_id="zebra")
        assert (await server.ask(form, 401))["error"] == "invalid_client"


async def test_a_client_with_a_secret_cannot_use_an_assertion_nor_the_other_way_round() -> None:
    async with auth_server() as server:
        by_secret = await server.sign_up()
        client = KeyClient()
        client.id = by_secret["client_id"]
        assert (await server.ask(client.form(client.assertion(server.clock())), 401))[
            "error"
        ] == "invalid_client"
        await client.sign_up(server)
        await server.token({"client_id": client.id, "client_secret": "x"}, 401)


async def test_a_key_among_several_is_selected_by_its_id() -> None:
    async with auth_server() as server:
        one, two = KeyClient("ES384", "k1"), KeyClient("RS384", "k2")
        registered = await server.sign_up(
            token_endpoint_auth_method="private_key_jwt", jwks={"keys": [one.public, two.public]}
        )
        for client in (one, two):
            client.id = registered["client_id"]
            assert await server.ask(client.form(client.assertion(server.clock())))


async def test_a_program_that_acts_for_itself_is_given_a_short_token_and_none_to_renew_it_with() -> None:
    async with auth_server(client_scopes="system/*.rs offline_access") as server:
        client = KeyClient()
        await client.sign_up(server, scope="system/*.rs offline_access")
        for scope in ("system/Patient.rs", "system/Patient.rs offline_access"):
            form = client.form(client.assertion(server.clock()), scope=scope)
            async with server.http.post("/oauth/token", data=form) as answer:
                given = await answer.json()
            if answer.status == 200:
                assert given["expires_in"] <= 300
                assert (given["token_type"].lower(), given["scope"]) == ("bearer", "system/Patient.rs")
            else:
                assert given["error"] == "invalid_scope"
            assert "refresh_token" not in given


async def test_failed_assertions_are_limited() -> None:
    async with auth_server(client_failures=3) as server:
        client = KeyClient()
        await client.sign_up(server)
        for _ in range(3):
            await server.ask(client.form(client.assertion(server.clock(), aud="x")), 401)
        await server.ask(client.form(client.assertion(server.clock())), 429)


async def test_assertions_serve_at_introspection_too() -> None:
    async with auth_server() as server:
        client = KeyClient()
        await client.sign_up(server)
        token = (await server.ask(client.form(client.assertion(server.clock()))))["access_token"]
        form = client.form(client.assertion(server.clock()), token=token)
        assert (await server.ask(form, path="/oauth/introspect"))["active"] is True


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
async def test_a_key_pair_that_was_made_for_it_is_registered_and_gives_a_token_for_exports(
    algorithm: str,
) -> None:
    pair = make_key_pair(algorithm)
    async with auth_server(client_scopes="system/*.rs") as server:
        client = KeyClient(algorithm)
        client.key = (ECKey if algorithm == "ES384" else RSAKey).import_key(pair.private)
        registered = await server.sign_up(
            token_endpoint_auth_method="private_key_jwt", jwks=pair.public, scope="system/*.read"
        )
        client.id = registered["client_id"]
        form = client.form(client.assertion(server.clock()), scope="system/Patient.read system/Group.rs")
        assert (await server.ask(form))["scope"] == "system/Group.rs system/Patient.read"


async def test_those_who_sign_up_may_have_exports_unless_operators_say_otherwise() -> None:
    usual = str(Settings.model_fields["client_scopes"].default)
    async with auth_server(client_scopes=usual) as server:
        client = await server.sign_up(scope="system/*.rs user/*.rs bulk/import")
        assert (await server.token(client))["scope"] == "bulk/import system/*.rs"
        assert (await server.token(client, 400, scope="user/*.rs"))["error"] == "invalid_scope"
