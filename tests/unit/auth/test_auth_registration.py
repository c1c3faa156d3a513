"""Sign-up and its management: RFC 7591 and RFC 7592."""

import warnings
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from sluice_auth.model import Action
from sluice_auth.operator_clients import put_operator, remove_client
from sluice_security.authority import HttpAuthority
from sluice_security.tokens import InvalidToken, TokenVerifier
from support.auth_server import ISSUER, OPERATOR, AuthServer, KeyClient, auth_server, body_of

CANARY = "canary-51aa"


def page(client: dict[str, Any]) -> str:
    uri = client["registration_client_uri"]
    assert uri.startswith(f"{ISSUER}/oauth/register/")
    return str(uri.removeprefix(ISSUER))


def holder(client: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {client['registration_access_token']}"}


async def read(server: AuthServer, client: dict[str, Any], status: int = 200) -> dict[str, Any]:
    async with server.http.get(page(client), headers=holder(client)) as answer:
        return await body_of(answer, status)


async def update(
    server: AuthServer, client: dict[str, Any], status: int = 200, **metadata: Any
) -> dict[str, Any]:
    body = {"client_id": client["client_id"], **metadata}
    async with server.http.put(page(client), headers=holder(client), json=body) as answer:
        return await body_of(answer, status)


async def test_a_client_is_told_its_secret_once_and_only_hashes_are_kept() -> None:
    async with auth_server() as server:
        client = await server.sign_up(client_name="Portal", contacts=["ops@portal.test"], software_id="p")
        assert client["client_secret_expires_at"] == 0
        assert len(client["client_secret"]) >= 43
        assert client["client_id_issued_at"] == server.clock()
        assert client["token_endpoint_auth_method"] == "client_secret_basic"
        assert client["grant_types"] == ["client_credentials"]
        assert client["scope"] == "bulk/import files/read files/write"
        shown = await read(server, client)
        assert not {"client_secret", "registration_access_token"} & set(shown)
        assert (shown["client_name"], shown["contacts"], shown["software_id"]) == (
            "Portal",
            ["ops@portal.test"],
            "p",
        )
        stored = repr(server.store._state)
        assert client["client_secret"] not in stored
        assert client["registration_access_token"] not in stored


async def test_no_two_clients_share_anything() -> None:
    async with auth_server() as server:
        one, two = await server.sign_up(), await server.sign_up()
        for name in ("client_id", "client_secret", "registration_access_token"):
            assert one[name] != two[name]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # joserfc warns of what the server has to refuse
    SHORT_RSA = {**RSAKey.generate_key(1024).as_dict(private=False), "kid": "k1"}


LONG_N = RSAKey.generate_key(2048).as_dict(private=False)["n"]


def ec(curve: str = "P-384", private: bool = False, **more: Any) -> dict[str, Any]:
    return {**ECKey.generate_key(curve).as_dict(private=private), "kid": "k1", **more}


BY_KEY: dict[str, Any] = {"token_endpoint_auth_method": "private_key_jwt"}
REFUSED: dict[str, Any] = {
    "not an object": [],
    "name not a text": {"client_name": 7},
    "name with a control character": {"client_name": f"{CANARY}\u0007"},
    "name with NUL": {"client_name": "a\u0000"},
    "name that reads backwards": {"client_name": f"\u202e{CANARY}"},
    "endless name": {"client_name": CANARY * 100},
    "a password grant": {"grant_types": ["password"]},
    "implicit": {"grant_types": ["implicit", "client_credentials"]},
    "no grant type": {"grant_types": []},
    "unknown method": {"token_endpoint_auth_method": CANARY},
    "public client": {"token_endpoint_auth_method": "none"},
    "operators' scope": {"scope": "ops/sources"},
    "all operators' scopes": {"scope": "ops/*"},
    "scope that is not for all": {"scope": "system/*.rs"},
    "unknown scope": {"scope": f"bulk/import {CANARY}"},
    "own client id": {"client_id": CANARY},
    "own secret": {"client_secret": CANARY},
    "own wish to be operator, by scope": {"operator": True, "scope": "ops/*"},
    "key client without keys": BY_KEY,
    "key client with no keys": {**BY_KEY, "jwks": {"keys": []}},
    "key client with too many keys": {**BY_KEY, "jwks": {"keys": [{"kid": str(n)} for n in range(11)]}},
    "keys not a set": {**BY_KEY, "jwks": [CANARY]},
    "key without id": {**BY_KEY, "jwks": {"keys": [{**ec(), "kid": None}]}},
    "two keys of one id": {**BY_KEY, "jwks": {"keys": [ec(), ec()]}},
    "private key": {**BY_KEY, "jwks": {"keys": [ec(private=True)]}},
    "shared secret as a key": {
        **BY_KEY,
        "jwks": {"keys": [{**OctKey.generate_key(256).as_dict(private=True), "kid": "k1"}]},
    },
    "short RSA key": {**BY_KEY, "jwks": {"keys": [SHORT_RSA]}},
    "RSA key with a small exponent": {**BY_KEY, "jwks": {"keys": [{**SHORT_RSA, "e": "Aw", "n": LONG_N}]}},
    "other curve": {**BY_KEY, "jwks": {"keys": [ec("P-256")]}},
    "unknown key type": {**BY_KEY, "jwks": {"keys": [{"kty": CANARY, "kid": "k1"}]}},
    "point not on the curve": {**BY_KEY, "jwks": {"keys": [ec(x="AAAA")]}},
    "coordinate not a text": {**BY_KEY, "jwks": {"keys": [ec(x=7)]}},
    "key for encryption": {**BY_KEY, "jwks": {"keys": [ec(use="enc")]}},
    "key for another algorithm": {**BY_KEY, "jwks": {"keys": [ec(alg="ES512")]}},
    "key address without TLS": {**BY_KEY, "jwks_uri": f"http://{CANARY}.test/jwks"},
    "key address on this machine": {**BY_KEY, "jwks_uri": "https://127.0.0.1/jwks"},
    "key address with a user": {**BY_KEY, "jwks_uri": f"https://{CANARY}@portal.test/jwks"},
    "key address that is none": {**BY_KEY, "jwks_uri": CANARY},
    "key address of a file": {**BY_KEY, "jwks_uri": "file:///etc/passwd"},
    "key address for a secret's client": {"jwks_uri": "https://portal.test/jwks"},
    "keys both ways": {**BY_KEY, "jwks": {"keys": [ec()]}, "jwks_uri": "https://portal.test/jwks"},
    "keys for a secret's client": {
        "token_endpoint_auth_method": "client_secret_post",
        "jwks": {"keys": [ec()]},
    },
    "too many contacts": {"contacts": ["x"] * 11},
    "script as an address": {"client_uri": "javascript:alert(1)"},
}


@pytest.mark.filterwarnings("ignore:Key size")
@pytest.mark.parametrize("case", REFUSED)
async def test_a_registration_that_cannot_be_granted_is_refused_and_not_echoed(case: str) -> None:
    async with auth_server() as server:
        async with server.http.post("/oauth/register", json=REFUSED[case]) as answer:
            body = await body_of(answer, 400)
        assert body["error"] == "invalid_client_metadata"
        assert CANARY not in str(body)
        assert not [entry for entry in server.store.audit if entry.action is Action.REGISTER]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"\xff", b"[" * 5000, b'{"client_name": "\\ud800"}', b'{"contacts": [1]}']
)
async def test_a_body_that_is_no_registration_is_refused(body: bytes) -> None:
    async with auth_server() as server:
        headers = {"Content-Type": "application/json"}
        async with server.http.post("/oauth/register", data=body, headers=headers) as answer:
            assert (await body_of(answer, 400))["error"] == "invalid_client_metadata"


async def test_a_software_statement_is_refused_by_its_code() -> None:
    async with auth_server() as server:
        assert (await server.sign_up(400, software_statement=CANARY))["error"] == "invalid_software_statement"


async def test_unknown_members_are_ignored() -> None:
    async with auth_server() as server:
        client = await server.sign_up(flavour="plum", redirect_uris=["https://portal.test/back"])
        assert "flavour" not in await read(server, client)


async def test_a_scope_is_registered_narrowed() -> None:
    async with auth_server(client_scopes="bulk/import system/*.rs ops/*") as server:
        client = await server.sign_up(scope="bulk/import system/Patient.cruds ops/sources")
        assert client["scope"] == "bulk/import system/Patient.rs"
        assert (await server.token(client, 400, scope="system/Group.rs"))["error"] == "invalid_scope"
        assert "ops" not in (await server.sign_up())["scope"]


async def test_a_search_that_operators_limit_scopes_by_is_in_those_of_everybody_who_signs_up() -> None:
    label = "_security:not=http://terminology.hl7.org/CodeSystem/v3-Confidentiality|R"
    async with auth_server(client_scopes=f"system/*.rs?{label}") as server:
        client = await server.sign_up(scope="system/*.rs system/Patient.r")
        assert client["scope"] == f"system/*.rs?{label}"
        granted = (await server.token(client, scope="system/Patient.r"))["scope"]
        assert granted == f"system/Patient.r?{label}"


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}, {"Authorization": "Bearer "}],
)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_without_its_registration_token_a_client_is_not_to_be_had(
    method: str, headers: dict[str, str]
) -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        answers = []
        for path in (page(client), "/oauth/register/unknown"):
            async with server.http.request(method, path, headers=headers, json={}) as answer:
                answers.append(await body_of(answer, 401))
                assert "invalid_token" in answer.headers["WWW-Authenticate"]
        assert answers[0] == answers[1]
        assert await read(server, client)


async def test_one_clients_registration_token_opens_no_other_client() -> None:
    async with auth_server() as server:
        one, two = await server.sign_up(), await server.sign_up()
        mixed = {**one, "registration_access_token": two["registration_access_token"]}
        assert (await read(server, mixed, 401))["error"] == "invalid_token"


async def test_an_update_replaces_everything_and_keeps_the_secret() -> None:
    async with auth_server() as server:
        client = await server.sign_up(client_name="Old", software_id="s")
        changed = await update(server, client, client_name="New", scope="files/read")
        assert changed["client_name"] == "New"
        assert changed["scope"] == "files/read"
        assert "software_id" not in changed
        assert "client_secret" not in changed
        assert (await server.token(client))["scope"] == "files/read"


async def test_a_client_whose_keys_were_given_by_value_is_reminded_to_send_new_ones() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        changed = await update(server, client, **BY_KEY, jwks={"keys": [KeyClient().public]})
        assert "registration_client_uri" in changed["jwks_reminder"]
        by_address = await update(server, client, **BY_KEY, jwks_uri="https://keys.test/jwks")
        assert "jwks_reminder" not in {**client, **by_address}


async def test_an_update_can_change_from_secret_to_key_and_back_with_a_new_secret() -> None:
    async with auth_server() as server:
        client, key = await server.sign_up(), KeyClient()
        changed = await update(server, client, **BY_KEY, jwks={"keys": [key.public]})
        assert changed["jwks"]["keys"][0]["kid"] == "k1"
        key.id = client["client_id"]
        assert await server.ask(key.form(key.assertion(server.clock())))
        await server.token(client, 401)
        back = await update(server, client, token_endpoint_auth_method="client_secret_post")
        assert back["client_secret"] != client["client_secret"]
        await server.token(client, 401)
        assert await server.token({**client, "client_secret": back["client_secret"]})


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"client_id": CANARY}, "invalid_request"),
        ({"client_id": None}, "invalid_request"),
        ({"client_secret": CANARY}, "invalid_request"),
        ({"scope": "ops/*"}, "invalid_client_metadata"),
        ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
    ],
)
async def test_an_update_cannot_take_what_sign_up_does_not_give(wish: dict[str, Any], code: str) -> None:
    async with auth_server() as server:
        client = await server.sign_up(client_name="Old")
        answer = await update(server, client, 400, **wish)
        assert answer["error"] == code
        assert CANARY not in str(answer)
        assert (await read(server, client))["client_name"] == "Old"


async def test_a_removed_client_is_gone_with_its_tokens() -> None:
    async with auth_server() as server:
        client, other = await server.sign_up(), await server.sign_up()
        token = (await server.token(client))["access_token"]
        async with server.http.delete(page(client), headers=holder(client)) as answer:
            assert answer.status == 204
        await server.token(client, 401)
        await read(server, client, 401)
        authority = HttpAuthority(server.http.session, str(server.http.make_url("/")))
        revoked = await authority.revoked()
        assert len(revoked) == 1
        verifier = TokenVerifier(authority, issuer=ISSUER, audience="https://api.test", now=server.clock)
        assert await verifier.verify((await server.token(other))["access_token"])
        with pytest.raises(InvalidToken, match="revoked"):
            await verifier.verify(token)


async def test_sign_up_can_be_closed() -> None:
    async with auth_server(registration="closed") as server:
        assert (await server.sign_up(403))["error"] == "access_denied"
        async with server.http.get("/.well-known/oauth-authorization-server") as answer:
            assert "registration_endpoint" not in await answer.json()


async def test_sign_up_can_ask_for_an_initial_access_token() -> None:
    initial = "i" * 40
    async with auth_server(registration="token", registration_token=initial) as server:
        assert (await server.sign_up(401))["error"] == "invalid_token"
        assert (await server.sign_up(401, token="wrong"))["error"] == "invalid_token"
        assert await server.sign_up(token=initial)


async def test_sign_up_is_limited_per_address() -> None:
    async with auth_server(registrations=3) as server:
        for _ in range(3):
            await server.sign_up()
        assert (await server.sign_up(429))["error"] == "temporarily_unavailable"
        server.clock.advance(3601)
        assert await server.sign_up()


async def test_behind_a_proxy_limits_are_per_callers_address() -> None:
    async with auth_server(registrations=1, trusted_proxies=1) as server:
        callers = (("192.0.2.1", 201), ("192.0.2.2", 201), ("192.0.2.2", 429))
        # Whoever has one IPv6 address has 2^64 of them.
        for address, status in (*callers, ("2001:db8::1", 201), ("2001:db8::2", 429)):
            headers = {"X-Forwarded-For": f"spoofed-{status}, {address}"}
            async with server.http.post("/oauth/register", json={}, headers=headers) as answer:
                assert answer.status == status


async def test_putting_an_operator_twice_changes_nothing() -> None:
    async with auth_server() as server:
        assert not await put_operator(server.store, *OPERATOR, name="again", now=server.clock())
        assert await put_operator(server.store, OPERATOR[0], "n" * 40, name="new", now=server.clock())
        await server.token({"client_id": OPERATOR[0], "client_secret": OPERATOR[1]}, 401)


async def test_operators_can_remove_any_client() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        assert await remove_client(server.store, client["client_id"], now=server.clock(), lifetime=300)
        assert not await remove_client(server.store, client["client_id"], now=server.clock(), lifetime=300)
        await server.token(client, 401)
