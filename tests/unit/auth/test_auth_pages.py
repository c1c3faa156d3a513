"""The pages: what browsers are told, what their cookies are like, and forms that other sites forge."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from sluice_auth.model import Action
from support.auth_browser import PASSWORD, SCOPES, Browser, Page, add_user, asking, portal, redeem, refresh
from support.auth_server import AuthServer, auth_server

CANARY = "canary-9f3c"


def policy(page: Page) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in page.headers["Content-Security-Policy"].split(";"))
    return {name: sources for name, _, sources in parts}


async def every_page(server: AuthServer, client: dict[str, Any]) -> dict[str, Page]:
    browser = Browser(server)
    pages = {"sign-in": await browser.get(asking(client))}
    failed = await browser.submit(pages["sign-in"], "/oauth/sign-in", name="ann", password="wrong")
    pages["failed"] = failed
    pages["consent"] = await browser.sign_in(pages["sign-in"])
    pages["redirect"] = await browser.submit(pages["consent"], "/oauth/consent", decision="allow")
    pages["consents"] = await browser.get("/oauth/consents")
    pages["refused"] = await browser.get(asking(client, redirect_uri="https://evil.test"))
    return pages


async def test_no_page_may_be_framed_kept_sniffed_or_told_of_elsewhere() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        for name, page in (await every_page(server, await portal(server))).items():
            assert page.headers["X-Frame-Options"] == "DENY", name
            assert page.headers["Cache-Control"] == "no-store", name
            assert page.headers["X-Content-Type-Options"] == "nosniff", name
            assert page.headers["Referrer-Policy"] == "same-origin", name
            if name != "redirect":
                assert policy(page)["frame-ancestors"] == "'none'", name
                assert policy(page)["default-src"] == "'none'", name
                assert policy(page)["base-uri"] == "'none'", name
                assert "unsafe" not in page.headers["Content-Security-Policy"], name
                assert page.headers["Content-Type"] == "text/html; charset=utf-8", name


async def test_forms_lead_to_this_server_and_the_clients_own_address_alone() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        pages = await every_page(server, await portal(server))
        for name in ("sign-in", "failed", "consent"):
            assert policy(pages[name])["form-action"] == "'self' https://portal.test"
        for name in ("consents", "refused"):
            assert policy(pages[name])["form-action"] == "'self'"


class Reader(HTMLParser):
    """Collects what a page refers to, what runs, and which fields have no label."""

    def __init__(self) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.tags: list[str] = []
        self.fields: set[str] = set()
        self.labels: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.refers += [given[name] or "" for name in ("src", "href", "action", "srcset") if name in given]
        self.refers += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "input" and given.get("type") != "hidden":
            self.fields.add(given["id"] or "")
        if tag == "label":
            self.labels.add(given["for"] or "")


async def test_pages_load_nothing_run_nothing_and_label_every_field() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        for name, page in (await every_page(server, await portal(server))).items():
            if name == "redirect":
                continue
            reader = Reader()
            reader.feed(page.text)
            assert not {"script", "img", "link", "iframe", "object"} & set(reader.tags), name
            assert all(place.startswith("/oauth/") for place in reader.refers), name
            assert reader.fields <= reader.labels, name
            assert '<html lang="en">' in page.text
            assert len(re.findall("<h1>", page.text)) == 1
            assert re.search("<title>.+</title>", page.text)


async def test_the_style_is_the_one_that_the_policy_names() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        page = await Browser(server).get("/oauth/consents")
        match = re.search("<style>(.*?)</style>", page.text, re.DOTALL)
        assert match
        digest = base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()
        assert policy(page)["style-src"] == f"'sha256-{digest}'"
        assert "prefers-color-scheme: dark" in match[1]


async def test_what_a_client_calls_itself_is_text_and_nothing_else() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        name = '<script>alert("x")</script>\'"><img src=x>&'
        client, browser = await portal(server, client_name=name), Browser(server)
        page = await browser.get(asking(client, state='"><script>alert(1)</script>'))
        consent = await browser.sign_in(page)
        assert "<script" not in page.text + consent.text
        assert "<img" not in page.text + consent.text
        assert "&lt;script&gt;" in consent.text


async def test_cookies_are_for_this_host_over_https_and_out_of_reach_of_scripts() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        browser = Browser(server)
        await browser.signed_in()
        assert set(browser.set_cookies) == {"__Host-sluice-session", "__Host-sluice-form"}
        for line in browser.set_cookies.values():
            attributes = {part.strip() for part in line.split(";")[1:]}
            assert {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"} <= attributes
            assert not any(attribute.startswith("Domain") for attribute in attributes)
        assert "Max-Age=28800" in browser.set_cookies["__Host-sluice-session"]


async def test_cookies_work_without_https_where_there_is_none() -> None:
    async with auth_server(issuer="http://127.0.0.1:1") as server:
        await add_user(server)
        browser = Browser(server)
        await browser.get("/oauth/consents")
        assert set(browser.cookies) == {"sluice-form"}
        assert "Secure" not in browser.set_cookies["sluice-form"]


async def test_a_session_is_new_with_each_sign_in_and_the_old_one_ends() -> None:
    async with auth_server() as server:
        await add_user(server)
        browser = Browser(server)
        planted = "planted-by-someone"
        browser.cookies["__Host-sluice-session"] = planted
        await browser.signed_in()
        first = browser.cookies["__Host-sluice-session"]
        assert first != planted
        assert first not in repr(server.store._state)
        other = Browser(server)
        page = await other.get("/oauth/consents")
        other.cookies["__Host-sluice-session"] = first
        await other.submit(page, "/oauth/sign-in", name="ann", password=PASSWORD)
        assert "/oauth/sign-in" in (await browser.get("/oauth/consents")).forms


async def test_a_session_ends_by_signing_out_and_by_time() -> None:
    async with auth_server(session_hours=1) as server:
        await add_user(server)
        browser = Browser(server)
        page = await browser.signed_in()
        stolen = dict(browser.cookies)
        await browser.submit(page, "/oauth/sign-out")
        assert "__Host-sluice-session" not in browser.cookies
        browser.cookies = stolen
        assert "/oauth/sign-in" in (await browser.get("/oauth/consents")).forms
        await browser.signed_in()
        server.clock.advance(3_600)
        assert "/oauth/sign-in" in (await browser.get("/oauth/consents")).forms


async def test_whoever_is_signed_in_as_someone_else_can_change_that_on_the_way() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        await add_user(server, "bob")
        client, browser = await portal(server), Browser(server)
        await browser.signed_in()
        page = await browser.get(asking(client))
        left = await browser.submit(page, "/oauth/sign-out")
        page = await browser.sign_in(await browser.get(left.location), "bob")
        assert "<dd>bob</dd>" in page.text


FORGED: dict[str, dict[str, Any]] = {
    "no proof": {"proof": ""},
    "a made up proof": {"proof": "0" * 64},
    "a proof with odd letters": {"proof": "é" * 64},
    "another site": {"headers": {"Origin": "https://evil.test"}},
    "a hidden site": {"headers": {"Origin": "null"}},
    "another site, by the browser's word": {"headers": {"Sec-Fetch-Site": "cross-site"}},
    "a neighbour": {"headers": {"Sec-Fetch-Site": "same-site"}},
}


async def forged(browser: Browser, page: Page, action: str, case: str, **fields: str) -> Page:
    forgery = dict(FORGED[case])
    headers = forgery.pop("headers", None)
    return await browser.post(action, {**page.forms[action], **fields, **forgery}, headers)


@pytest.mark.parametrize("case", FORGED)
async def test_a_forged_form_neither_signs_in_nor_consents_nor_withdraws(case: str) -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        page = await browser.get(asking(client))
        answer = await forged(browser, page, "/oauth/sign-in", case, name="ann", password=PASSWORD)
        assert answer.status == 403
        assert "__Host-sluice-session" not in browser.cookies
        page = await browser.sign_in(page)
        assert (await forged(browser, page, "/oauth/consent", case, decision="allow")).status == 403
        assert not server.store._state.people.codes
        await browser.submit(page, "/oauth/consent", decision="allow")
        page = await browser.get("/oauth/consents")
        assert (await forged(browser, page, "/oauth/consents/withdraw", case)).status == 403
        assert (await forged(browser, page, "/oauth/sign-out", case)).status == 403
        assert "Portal" in (await browser.get("/oauth/consents")).text


async def test_a_proof_is_for_one_browser_one_purpose_and_one_request() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        await add_user(server, "eve")
        client, eve, ann = await portal(server), Browser(server), Browser(server)
        await eve.signed_in("eve")
        await ann.signed_in()
        hers = await eve.get(asking(client))
        page = await ann.get(asking(client))
        for proof in (
            hers.forms["/oauth/consent"]["proof"],
            page.forms["/oauth/sign-out"]["proof"],
            (await ann.get(asking(client, scope="files/read"))).forms["/oauth/consent"]["proof"],
        ):
            answer = await ann.submit(page, "/oauth/consent", decision="allow", proof=proof)
            assert answer.status == 403
        # Signing a victim in as the attacker takes the victim's own mark.
        form = (await Browser(server).get("/oauth/consents")).forms["/oauth/sign-in"]
        victim = Browser(server)
        await victim.get("/oauth/consents")
        fields = {**form, "name": "eve", "password": PASSWORD}
        assert (await victim.post("/oauth/sign-in", fields)).status == 403


async def test_what_was_shown_is_what_is_consented_to() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        await browser.signed_in()
        page = await browser.get(asking(client, scope="files/read"))
        more = asking(client, scope="files/read files/write").partition("?")[2]
        answer = await browser.submit(page, "/oauth/consent", decision="allow", then=more)
        assert answer.status == 403


@pytest.mark.parametrize(
    "then",
    ["//evil.test", "https://evil.test/", "\r\nX-Evil: 1", "next=https://evil.test", "@evil.test", "/../.."],
)
async def test_signing_in_leads_to_this_servers_own_pages_only(then: str) -> None:
    async with auth_server() as server:
        await add_user(server)
        browser = Browser(server)
        page = await browser.get("/oauth/consents")
        fields = {**page.forms["/oauth/sign-in"], "then": then, "name": "ann", "password": PASSWORD}
        answer = await browser.post("/oauth/sign-in", fields)
        assert answer.status == 403
        assert "evil" not in answer.text
        page = await browser.signed_in()
        answer = await browser.submit(page, "/oauth/sign-out", then=then)
        assert answer.location.startswith(("/oauth/authorize?", "/oauth/consents"))
        assert "X-Evil" not in answer.headers


async def test_pages_of_an_issuer_with_a_path_stay_below_it() -> None:
    async with auth_server(issuer="https://sluice.test/auth", client_scopes=SCOPES) as server:
        page = await Browser(server).get("/oauth/consents")
        assert set(page.forms) == {"/auth/oauth/sign-in"}


async def test_a_wrong_password_and_a_wrong_name_look_the_same() -> None:
    async with auth_server() as server:
        await add_user(server)
        pages = []
        for name, password in (("ann", "wrong password"), ("nobody", PASSWORD), ("", ""), ("a\u202eb", "x")):
            browser = Browser(server)
            page = await browser.get("/oauth/consents")
            answer = await browser.submit(page, "/oauth/sign-in", name=name, password=password)
            assert "__Host-sluice-session" not in browser.cookies
            pages.append((answer.status, re.sub('value="[0-9a-f]{64}"', "", answer.text)))
        assert len(set(pages)) == 1
        assert 'role="alert"' in pages[0][1]
        refusals = [entry for entry in server.store.audit if entry.action is Action.SIGN_IN]
        assert {entry.outcome for entry in refusals} == {"access_denied"}


async def test_names_are_found_however_they_are_typed() -> None:
    async with auth_server() as server:
        await add_user(server, "Zoë.Straße")
        for name in ("zoë.straße", " ZOË.STRASSE ", "Zoe\u0308.strasse"):
            assert "Signed in as" in (await Browser(server).signed_in(name)).text


async def test_whoever_guesses_passwords_is_slowed_down_and_others_are_not() -> None:
    async with auth_server(client_failures=3, address_failures=5) as server:
        await add_user(server)
        await add_user(server, "bob")
        browser = Browser(server)
        page = await browser.get("/oauth/consents")
        for _ in range(3):
            await browser.submit(page, "/oauth/sign-in", name="ann", password="wrong")
        slowed = await browser.submit(page, "/oauth/sign-in", name="ann", password=PASSWORD)
        assert slowed.status == 429
        assert int(slowed.headers["Retry-After"]) > 0
        assert "Signed in as" in (await Browser(server).signed_in("bob")).text
        server.clock.advance(61)
        assert "Signed in as" in (await Browser(server).signed_in()).text


async def test_a_user_sees_what_applications_may_do_and_takes_it_back() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        client, browser = await portal(server), Browser(server)
        given = await redeem(
            server, client, await browser.code(client, scope="files/read user/*.rs offline_access")
        )
        page = await browser.get("/oauth/consents")
        assert "Portal" in page.text
        assert "for up to 30 days" in page.text
        await browser.submit(page, "/oauth/consents/withdraw", client_id="nobody")
        answer = await browser.submit(page, "/oauth/consents/withdraw", client_id=client["client_id"])
        assert answer.location == "/oauth/consents"
        assert "No application may act for you." in (await browser.get("/oauth/consents")).text
        assert (await refresh(server, client, given["refresh_token"], 400))["error"] == "invalid_grant"
        form = {"token": given["access_token"], **{n: client[n] for n in ("client_id", "client_secret")}}
        assert await server.ask(form, path="/oauth/introspect") == {"active": False}
        assert (await browser.get(asking(client))).status == 200


async def test_nobody_withdraws_for_another_user() -> None:
    async with auth_server(client_scopes=SCOPES) as server:
        await add_user(server)
        await add_user(server, "eve")
        client, ann, eve = await portal(server), Browser(server), Browser(server)
        await ann.allow(client)
        await eve.signed_in("eve")
        await eve.allow(client)
        page = await eve.get("/oauth/consents")
        await eve.submit(page, "/oauth/consents/withdraw", client_id=client["client_id"])
        assert "Portal" in (await ann.get("/oauth/consents")).text


async def test_a_page_that_fails_shows_nothing_of_why_and_the_password_is_nowhere() -> None:
    async with auth_server() as server:
        await add_user(server)
        browser = Browser(server)
        page = await browser.get("/oauth/consents")
        server.store.away = True
        answer = await browser.submit(page, "/oauth/sign-in", name=CANARY, password=CANARY)
        assert answer.status == 503
        assert CANARY not in answer.text
        server.store.away = False
        answer = await browser.submit(page, "/oauth/sign-in", name=CANARY, password=CANARY)
        assert CANARY not in answer.text
        assert CANARY not in repr(server.store._state)


async def test_parameters_of_forms_belong_into_the_body() -> None:
    async with auth_server() as server:
        await add_user(server)
        browser = Browser(server)
        page = await browser.get("/oauth/consents")
        form = page.forms["/oauth/sign-in"]
        answer = await browser.post("/oauth/sign-in?name=ann&password=x", form)
        assert answer.status == 400
