"""The token endpoint: what a client gets for its secret, and every way in which it gets nothing."""

import base64
import hmac
from dataclasses import replace
from typing import Any
from urllib.parse import quote_plus

import pytest
from aiohttp import encode_basic_auth

from sluice_auth import client_secrets
from sluice_auth.model import Action
from sluice_auth.operator_clients import put_operator
from sluice_security.authority import HttpAuthority
from sluice_security.scopes import MOST_LIMITED, Scopes
from sluice_security.tokens import InvalidToken, TokenVerifier, check
from support.auth_server import GATEWAY, ISSUER, OPERATOR, AuthServer, auth_server

CANARY = "canary-7d1f"


def verified(server: AuthServer, token: str) -> Any:
    keys = server.service.keyring.public()
    return check(token, keys, issuer=ISSUER, audiences=[GATEWAY], now=server.clock())


async def test_a_client_signs_up_and_gets_a_token_that_verifies() -> None:
    async with auth_server() as server:
        client = await server.sign_up(client_name="Portal")
        answer = await server.token(client)
        principal = verified(server, answer["access_token"])
        assert answer["token_type"] == "Bearer"
        assert answer["expires_in"] == 300
        assert answer["scope"] == "bulk/import files/read files/write"
        assert (principal.client, principal.subject) == (client["client_id"], client["client_id"])
        assert principal.expires == server.clock() + 300


async def test_secrets_are_accepted_in_the_header_and_in_the_form() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        headers = {"Authorization": encode_basic_auth(client["client_id"], client["client_secret"])}
        assert await server.ask({"grant_type": "client_credentials"}, headers=headers)
        assert await server.token(client)


async def test_basic_credentials_are_form_encoded_first() -> None:
    async with auth_server(bootstrap_operator="") as server:
        secret = "per%cent+plus:colon é " + "x" * 32
        await put_operator(server.store, "odd", secret, name="odd", now=server.clock())
        both = f"odd:{quote_plus(secret)}".encode()
        header = {"Authorization": "Basic " + base64.b64encode(both).decode()}
        assert await server.ask({"grant_type": "client_credentials"}, headers=header)


async def test_nobody_may_keep_an_answer_that_holds_a_token() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        form = {
            "grant_type": "client_credentials",
            "client_id": client["client_id"],
            "client_secret": client["client_secret"],
        }
        async with server.http.post("/oauth/token", data=form) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Pragma"] == "no-cache"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.content_type == "application/json"


@pytest.mark.parametrize(
    ("wish", "granted"),
    [
        ("bulk/import", "bulk/import"),
        ("files/read bulk/import", "bulk/import files/read"),
        ("bulk/import ops/sources", "bulk/import"),
        ("files/read system/*.rs", "files/read"),
    ],
)
async def test_a_wish_is_narrowed_to_what_the_client_may_have(wish: str, granted: str) -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        answer = await server.token(client, scope=wish)
        assert answer["scope"] == granted
        assert verified(server, answer["access_token"]).scopes.canonical == granted


async def test_version_1_spellings_are_accepted_and_the_token_holds_version_2() -> None:
    async with auth_server(client_scopes="system/*.rs bulk/import") as server:
        client = await server.sign_up()
        answer = await server.token(client, scope="system/Patient.read")
        assert answer["scope"] == "system/Patient.read"
        assert verified(server, answer["access_token"]).scopes.canonical == "system/Patient.rs"


LIMITED = " ".join(f"system/Observation.rs?category={each}" for each in range(MOST_LIMITED + 1))


async def test_no_token_has_more_limited_scopes_than_a_request_can_bear() -> None:
    async with auth_server(client_scopes="system/*.rs") as server:
        client = await server.sign_up()
        few = LIMITED.rpartition(" ")[0]
        assert len((await server.token(client, scope=few))["scope"].split(" ")) == MOST_LIMITED
        answer = await server.token(client, 400, scope=LIMITED)
        assert answer["error"] == "invalid_scope"
        assert answer["error_description"].startswith(f"More than {MOST_LIMITED} scopes")
        assert "category" not in answer["error_description"]


async def test_no_client_registers_for_more_limited_scopes_than_a_token_may_have() -> None:
    async with auth_server(client_scopes="system/*.rs") as server:
        answer = await server.sign_up(400, scope=LIMITED)
        assert answer["error"] == "invalid_client_metadata"
        assert f"More than {MOST_LIMITED} scopes" in answer["error_description"]


async def test_a_client_that_is_registered_for_more_has_to_say_which_it_wants() -> None:
    async with auth_server(client_scopes="system/*.rs") as server:
        client = await server.sign_up()
        async with server.store.begin() as work:
            kept = await work.client(client["client_id"])
            assert kept is not None
            await work.change_client(replace(kept, scopes=Scopes.parse(LIMITED)), server.clock())
        assert (await server.token(client, 400))["error"] == "invalid_scope"
        first = LIMITED.partition(" ")[0]
        assert (await server.token(client, scope=first))["scope"] == first


@pytest.mark.parametrize(
    "wish", ["ops/sources", "ops/*", "system/*.rs", "root", f"{CANARY}", "bulk/import root"]
)
async def test_operators_and_unknown_scopes_are_refused(wish: str) -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        answer = await server.token(client, 400, scope=wish)
        assert answer["error"] == "invalid_scope"
        assert wish not in answer["error_description"]


async def test_only_an_operators_client_gets_operators_scopes() -> None:
    async with auth_server() as server:
        client = {"client_id": OPERATOR[0], "client_secret": OPERATOR[1]}
        answer = await server.token(client, scope="ops/sources")
        assert "ops/sources" in verified(server, answer["access_token"]).scopes


async def test_a_token_is_for_the_one_resource_that_was_asked_for() -> None:
    async with auth_server(audiences="https://other.test/") as server:
        client = await server.sign_up()
        answer = await server.token(client, resource="https://other.test")
        with pytest.raises(InvalidToken, match="another server"):
            verified(server, answer["access_token"])
        assert (await server.token(client, resource=GATEWAY + "/"))["access_token"]


@pytest.mark.parametrize("resources", [["https://evil.test"], [GATEWAY, GATEWAY], ["x"], [GATEWAY + "/#f"]])
async def test_a_foreign_or_second_resource_is_refused(resources: list[str]) -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        form = [
            ("grant_type", "client_credentials"),
            ("client_id", client["client_id"]),
            ("client_secret", client["client_secret"]),
            *(("resource", resource) for resource in resources),
        ]
        assert (await server.ask(form, 400))["error"] == "invalid_target"


CREDENTIALS = "client_id={id}&client_secret={secret}"
SAML = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
JWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANT = "grant_type=client_credentials"
REFUSED: dict[str, tuple[str, int, str]] = {
    "no grant type": (CREDENTIALS, 400, "invalid_request"),
    "empty grant type": (f"grant_type=&{CREDENTIALS}", 400, "invalid_request"),
    "password grant": (f"grant_type=password&{CREDENTIALS}", 400, "unsupported_grant_type"),
    "implicit": (f"grant_type=implicit&{CREDENTIALS}", 400, "unsupported_grant_type"),
    "unknown grant": (f"grant_type={CANARY}&{CREDENTIALS}", 400, "unsupported_grant_type"),
    "no credentials": (GRANT, 401, "invalid_client"),
    "client id alone": (f"{GRANT}&client_id={{id}}", 401, "invalid_client"),
    "secret alone": (f"{GRANT}&client_secret={{secret}}", 401, "invalid_client"),
    "wrong secret": (f"{GRANT}&client_id={{id}}&client_secret={CANARY}", 401, "invalid_client"),
    "another client's secret": (f"{GRANT}&client_id={{id}}&client_secret={{other}}", 401, "invalid_client"),
    "unknown client": (f"{GRANT}&client_id={CANARY}&client_secret={{secret}}", 401, "invalid_client"),
    "client id with NUL": (f"{GRANT}&client_id=%00&client_secret=x", 400, "invalid_request"),
    "repeated grant type": (f"{GRANT}&{GRANT}&{CREDENTIALS}", 400, "invalid_request"),
    "repeated scope": (f"{GRANT}&scope=bulk/import&scope={CANARY}&{CREDENTIALS}", 400, "invalid_request"),
    "repeated client": (f"{GRANT}&{CREDENTIALS}&client_id={CANARY}", 400, "invalid_request"),
    "repeated unknown parameter": (f"{GRANT}&x=1&x={CANARY}&{CREDENTIALS}", 400, "invalid_request"),
    "secret and assertion": (f"{GRANT}&{CREDENTIALS}&client_assertion={CANARY}", 400, "invalid_request"),
    "other assertion type": (
        f"{GRANT}&client_assertion_type={SAML}&client_assertion={CANARY}",
        400,
        "invalid_request",
    ),
    "assertion without its type": (f"{GRANT}&client_assertion={CANARY}", 400, "invalid_request"),
    "assertion's type without one": (f"{GRANT}&client_assertion_type={JWT}", 400, "invalid_request"),
    "assertion's type and a secret": (
        f"{GRANT}&{CREDENTIALS}&client_assertion_type={JWT}",
        400,
        "invalid_request",
    ),
    "type of an assertion in capitals": (
        f"{GRANT}&client_assertion_type={JWT.upper()}&client_assertion={CANARY}",
        400,
        "invalid_request",
    ),
    "not a form": (f"{CANARY}", 400, "invalid_request"),
    "not UTF-8": (f"{GRANT}&scope=%ff&{CREDENTIALS}", 400, "invalid_request"),
    "too many parameters": ("&".join(f"p{n}=1" for n in range(100)), 400, "invalid_request"),
    "empty": ("", 400, "invalid_request"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_request_is_refused_with_its_code_and_not_echoed(case: str) -> None:
    template, status, code = REFUSED[case]
    async with auth_server() as server:
        client, other = await server.sign_up(), await server.sign_up()
        form = template.format(
            id=client["client_id"], secret=client["client_secret"], other=other["client_secret"]
        )
        answer = await server.ask(form, status)
        assert answer["error"] == code
        assert set(answer) == {"error", "error_description"}
        assert CANARY not in str(answer)
        assert client["client_secret"] not in str(answer)


@pytest.mark.parametrize(
    "header",
    [
        f"Basic {CANARY}", "Basic", "Basic Og==", f"Bearer {CANARY}", "Digest x", "Basic " + "A" * 4000,
        "Basic /w==", "Basic " + base64.b64encode(b"a%ff:b").decode(),
    ],
)  # fmt: skip
async def test_malformed_credentials_in_the_header_are_refused(header: str) -> None:
    async with auth_server() as server:
        form = {"grant_type": "client_credentials"}
        async with server.http.post("/oauth/token", data=form, headers={"Authorization": header}) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic")
            assert (await answer.json())["error"] == "invalid_client"
            assert CANARY not in await answer.text()


async def test_credentials_in_header_and_form_at_once_are_refused() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        headers = {"Authorization": encode_basic_auth(client["client_id"], client["client_secret"])}
        form = {"grant_type": "client_credentials", "client_secret": client["client_secret"]}
        answer = await server.ask({**form, "client_id": client["client_id"]}, 400, headers=headers)
        assert answer["error"] == "invalid_request"


async def test_another_client_id_beside_the_header_is_refused() -> None:
    async with auth_server() as server:
        client, other = await server.sign_up(), await server.sign_up()
        headers = {"Authorization": encode_basic_auth(client["client_id"], client["client_secret"])}
        form = {"grant_type": "client_credentials", "client_id": other["client_id"]}
        assert (await server.ask(form, 400, headers=headers))["error"] == "invalid_request"


async def test_a_repeated_authorization_header_is_refused() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        value = encode_basic_auth(client["client_id"], client["client_secret"])
        headers = [("Authorization", value), ("Authorization", value)]
        assert (await server.ask({"grant_type": "client_credentials"}, 400, headers=headers))[
            "error"
        ] == "invalid_request"


async def test_parameters_in_the_address_are_refused() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        path = f"/oauth/token?client_id={client['client_id']}&client_secret={client['client_secret']}"
        assert (await server.ask({"grant_type": "client_credentials"}, 400, path))[
            "error"
        ] == "invalid_request"


async def test_another_content_type_is_refused() -> None:
    async with auth_server() as server:
        answer = await server.ask(
            '{"grant_type": "client_credentials"}', 400, headers={"Content-Type": "application/json"}
        )
        assert answer["error"] == "invalid_request"


async def test_a_body_over_the_limit_is_refused_in_the_protocols_form() -> None:
    async with auth_server() as server:
        answer = await server.ask({"grant_type": CANARY * 10_000}, 413)
        assert answer["error"] == "invalid_request"
        assert CANARY not in str(answer)


async def test_other_pages_and_methods_answer_in_json() -> None:
    async with auth_server() as server:
        async with server.http.get(f"/{CANARY}") as answer:
            assert answer.status == 404
            assert CANARY not in str(await answer.json())
        async with server.http.get("/oauth/token") as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "POST"
            assert (await answer.json())["error"] == "invalid_request"


async def test_yes_and_no_are_both_in_the_audit_trail_with_ids_only() -> None:
    async with auth_server() as server:
        client = await server.sign_up(client_name="Portal of Ann")
        await server.token(client)
        await server.token(client, 400, scope="ops/*")
        await server.token({**client, "client_secret": CANARY}, 401)
        await server.token({**client, "client_id": CANARY}, 401)
        records = [entry for entry in server.store.audit if entry.action is Action.TOKEN]
        told = [
            (entry.outcome, entry.client == client["client_id"], entry.token is None) for entry in records
        ]
        assert told == [
            ("ok", True, False),
            ("invalid_scope", True, True),
            ("invalid_client", False, True),
            ("invalid_client", False, True),
        ]
        assert CANARY not in repr(server.store.audit)
        assert "Portal" not in repr(server.store.audit)
        assert client["client_secret"] not in repr(server.store.audit)


async def test_whoever_fails_too_often_must_wait_and_others_need_not() -> None:
    async with auth_server(client_failures=3, address_failures=8) as server:
        client, other = await server.sign_up(), await server.sign_up()
        for _ in range(3):
            await server.token({**client, "client_secret": CANARY}, 401)
        async with server.http.post(
            "/oauth/token",
            data={
                "grant_type": "client_credentials",
                "client_id": client["client_id"],
                "client_secret": client["client_secret"],
            },
        ) as answer:
            assert answer.status == 429
            assert 0 < int(answer.headers["Retry-After"]) <= 61
        assert await server.token(other)
        for number in range(5):
            await server.token({**client, "client_id": f"guess-{number}"}, 401)
        await server.token(other, 429)
        server.clock.advance(61)
        assert await server.token(other)
        assert await server.token(client)


async def test_an_absent_store_is_told_as_such() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        server.store.away = True
        assert (await server.token(client, 503))["error"] == "temporarily_unavailable"


async def test_a_fault_inside_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async with auth_server() as server:
        client = await server.sign_up()

        def fail() -> None:
            raise RuntimeError(CANARY)

        monkeypatch.setattr(server.service.keyring, "signer", fail)
        answer = await server.token(client, 500)
        assert answer == {
            "error": "server_error",
            "error_description": "The request failed on the server's side.",
        }


async def test_a_verifier_over_http_accepts_what_the_server_issued() -> None:
    async with auth_server() as server:
        client = await server.sign_up()
        token = (await server.token(client))["access_token"]
        authority = HttpAuthority(server.http.session, str(server.http.make_url("/")))
        verifier = TokenVerifier(authority, issuer=ISSUER, audience=GATEWAY, now=server.clock)
        assert (await verifier.verify(token)).client == client["client_id"]


async def test_secrets_are_compared_in_constant_time_also_for_an_unknown_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    def compare(one: bytes, two: bytes) -> bool:
        compared.append((len(one), len(two)))
        return hmac.compare_digest(one, two)

    monkeypatch.setattr(client_secrets, "compare_digest", compare)
    async with auth_server() as server:
        client = await server.sign_up()
        await server.token({**client, "client_secret": "x"}, 401)
        await server.token({"client_id": CANARY, "client_secret": "x" * 1000}, 401)
        await server.token(client)
    assert compared[-3:] == [(32, 32)] * 3
