"""The authorization endpoint: who is sent where with what, and every way in which nobody is."""

from urllib.parse import urlencode

import pytest

from sluice_auth.model import Action
from support.auth_browser import (
    REDIRECT,
    SCOPES,
    VERIFIER,
    Browser,
    add_user,
    asking,
    portal,
    public_portal,
    redeem,
)
from support.auth_server import GATEWAY, ISSUER, auth_server

CANARY = "canary-2b90"


async def test_a_user_signs_in_consents_and_is_sent_back_with_a_code() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        page = await browser.get(asking(client))
        assert page.status == 200
        page = await browser.sign_in(page)
        assert "Portal" in page.text
        assert "Read and search health records of every kind" in page.text
        answer = await browser.submit(page, "/oauth/consent", decision="allow")
        assert answer.location.startswith(f"{REDIRECT}?")
        assert set(answer.told) == {"code", "state", "iss"}
        assert answer.told["state"] == "s-1"
        assert answer.told["iss"] == ISSUER


async def test_the_issuer_comes_with_every_answer_so_that_servers_are_not_mixed_up() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.signed_in()
        assert (await browser.get(asking(client, scope="root"))).told["iss"] == ISSUER
        page = await browser.get(asking(client))
        denied = await browser.submit(page, "/oauth/consent", decision="deny")
        assert denied.told == {
            "error": "access_denied",
            "error_description": "The user did not consent.",
            "state": "s-1",
            "iss": ISSUER,
        }
        async with server.http.get("/.well-known/oauth-authorization-server") as answer:
            assert (await answer.json())["authorization_response_iss_parameter_supported"] is True


NOWHERE: dict[str, dict[str, str | None]] = {
    "no client": {"client_id": None},
    "unknown client": {"client_id": CANARY},
    "no address": {"redirect_uri": None},
    "another address": {"redirect_uri": f"https://evil.test/{CANARY}"},
    "a longer path": {"redirect_uri": f"{REDIRECT}/more"},
    "a query added": {"redirect_uri": f"{REDIRECT}?next=https://evil.test"},
    "a fragment": {"redirect_uri": f"{REDIRECT}#x"},
    "another host ending alike": {"redirect_uri": "https://evil.portal.test/callback"},
    "a user name": {"redirect_uri": "https://portal.test@evil.test/callback"},
    "another port": {"redirect_uri": "https://portal.test:444/callback"},
    "the scheme downgraded": {"redirect_uri": "http://portal.test/callback"},
    "another case": {"redirect_uri": "https://portal.test/CALLBACK"},
    "a script": {"redirect_uri": "javascript:alert(1)"},
    "a header": {"redirect_uri": f"{REDIRECT}\r\nX-Evil: 1"},
}


@pytest.mark.parametrize("case", NOWHERE)
async def test_nobody_is_sent_to_an_address_that_the_client_did_not_register(case: str) -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.signed_in()
        page = await browser.get(asking(client, **NOWHERE[case]))
        assert page.status == 400
        assert "Location" not in page.headers
        assert page.headers["Content-Type"].startswith("text/html")
        assert CANARY not in page.text
        assert "evil" not in page.text


TOLD: dict[str, tuple[dict[str, str | None], str]] = {
    "no response type": ({"response_type": None}, "invalid_request"),
    "a token from here": ({"response_type": "token"}, "unsupported_response_type"),
    "two at once": ({"response_type": "code token"}, "unsupported_response_type"),
    "no challenge": ({"code_challenge": None}, "invalid_request"),
    "no challenge at all": ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
    "plain by leaving out": ({"code_challenge_method": None}, "invalid_request"),
    "plain": ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, "invalid_request"),
    "another case": ({"code_challenge_method": "s256"}, "invalid_request"),
    "short challenge": ({"code_challenge": "a" * 42}, "invalid_request"),
    "odd challenge": ({"code_challenge": "a" * 42 + "="}, "invalid_request"),
    "unknown scope": ({"scope": f"files/read {CANARY}"}, "invalid_scope"),
    "operators' scope": ({"scope": "ops/sources"}, "invalid_scope"),
    "a system's scope": ({"scope": "system/*.rs"}, "invalid_scope"),
    "nothing but offline": ({"scope": "offline_access"}, "invalid_scope"),
    "another resource": ({"resource": "https://evil.test"}, "invalid_target"),
    "a request object": ({"request": "e30.e30."}, "request_not_supported"),
    "a request by address": ({"request_uri": "https://evil.test"}, "request_uri_not_supported"),
    "an endless state": ({"state": "x" * 2_001}, "invalid_request"),
}


@pytest.mark.parametrize("case", TOLD)
async def test_a_request_that_breaks_a_rule_is_refused_to_the_client(case: str) -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.signed_in()
        changes, error = TOLD[case]
        answer = await browser.get(asking(client, **changes))
        assert answer.location.startswith(f"{REDIRECT}?")
        assert answer.told["error"] == error
        assert answer.told["iss"] == ISSUER
        assert "code" not in answer.told
        assert CANARY not in answer.location


async def test_a_parameter_that_is_repeated_could_be_read_in_two_ways() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        client, browser = await portal(server), Browser(server)
        for again in ({"redirect_uri": "https://evil.test/"}, {"client_id": "x"}, {"state": "2"}):
            page = await browser.get(f"{asking(client)}&{urlencode(again)}")
            assert page.status == 400
            assert "evil" not in page.text


async def test_nobody_is_sent_anywhere_before_signing_in() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        client, browser = await portal(server), Browser(server)
        for changes, _ in TOLD.values():
            page = await browser.get(asking(client, **changes))
            assert page.status == 200
            assert "/oauth/sign-in" in page.forms


async def test_a_client_that_is_not_registered_for_codes_gets_none() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        browser = Browser(server)
        other = await server.sign_up()
        await browser.signed_in()
        assert (await browser.get(asking(other))).status == 400


async def test_a_removed_client_leads_nowhere() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.signed_in()
        page = await browser.get(asking(client))
        holder = {"Authorization": f"Bearer {client['registration_access_token']}"}
        path = client["registration_client_uri"].removeprefix(ISSUER)
        async with server.http.delete(path, headers=holder) as answer:
            assert answer.status == 204
        assert (await browser.submit(page, "/oauth/consent", decision="allow")).status == 400
        assert (await browser.get(asking(client))).status == 400


async def test_a_wish_is_narrowed_before_the_user_is_asked() -> None:
    async with auth_server(client_scopes="files/read user/Patient.rs system/*.rs") as server:
        await add_user(server)
        client, browser = await portal(server, grant_types=["authorization_code"]), Browser(server)
        await browser.signed_in()
        page = await browser.get(asking(client, scope="user/*.cruds files/read system/*.rs"))
        assert "Read and search Patient records" in page.text
        answer = await browser.submit(page, "/oauth/consent", decision="allow")
        given = await redeem(server, client, answer.told["code"])
        assert given["scope"] == "files/read user/Patient.rs"


async def test_a_user_is_not_asked_twice_for_the_same() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.allow(client, scope="files/read user/*.rs")
        assert "code" in (await browser.get(asking(client, scope="user/Patient.rs"))).told
        more = await browser.get(asking(client, scope="files/read files/write"))
        assert more.status == 200
        await browser.submit(more, "/oauth/consent", decision="allow")
        everything = await browser.get(asking(client, scope="files/read files/write user/*.rs"))
        assert "code" in everything.told


async def test_a_refusal_is_not_remembered_as_consent() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.signed_in()
        await browser.submit(await browser.get(asking(client)), "/oauth/consent", decision="deny")
        assert (await browser.get(asking(client))).status == 200
        await browser.submit(await browser.get(asking(client)), "/oauth/consent")
        assert (await browser.get(asking(client))).status == 200


@pytest.mark.parametrize("other", ["another user", "another client", "another resource"])
async def test_a_consent_is_for_one_user_one_client_and_one_resource(other: str) -> None:
    async with auth_server(client_scopes=SCOPES, audiences="https://second.test") as server:
        await add_user(server)
        await add_user(server, "bob")
        client, browser = await portal(server), Browser(server)
        await browser.allow(client)
        if other == "another client":
            client = await portal(server)
        if other == "another user":
            browser = Browser(server)
            await browser.signed_in("bob")
        resource = "https://second.test" if other == "another resource" else GATEWAY
        assert (await browser.get(asking(client, resource=resource))).status == 200


async def test_whoever_may_be_any_program_on_the_machine_has_to_ask_each_time() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        browser = Browser(server)
        local = "http://127.0.0.1/callback"
        client = await public_portal(server, redirect_uris=[local, REDIRECT])
        await browser.allow(client)
        assert "code" in (await browser.get(asking(client))).told
        page = await browser.get(asking(client, redirect_uri="http://127.0.0.1:50123/callback"))
        assert page.status == 200
        answer = await browser.submit(page, "/oauth/consent", decision="allow")
        assert answer.location.startswith("http://127.0.0.1:50123/callback?code=")


async def test_an_address_with_a_query_keeps_it() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        uri = f"{REDIRECT}?tenant=a"
        client = await portal(server, redirect_uris=[uri])
        answer = await Browser(server).allow(client, redirect_uri=uri, state=None)
        assert answer.location.startswith(f"{uri}&code=")
        assert set(answer.told) == {"tenant", "code", "iss"}


async def test_the_trail_names_the_user_and_the_client_and_nothing_that_was_typed() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        user = await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.allow(client, state=CANARY)
        acts = {entry.action: entry for entry in server.store.audit}
        assert (acts[Action.SIGN_IN].subject, acts[Action.SIGN_IN].outcome) == (user.id, "ok")
        assert (acts[Action.AUTHORIZE].subject, acts[Action.AUTHORIZE].client) == (
            user.id,
            client["client_id"],
        )
        assert CANARY not in repr(server.store.audit)
        assert "'ann'" not in repr(server.store.audit)
