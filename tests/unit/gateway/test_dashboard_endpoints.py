"""The page as it is served: its policy, its parts, and what it is told."""

import re
from html.parser import HTMLParser
from importlib.resources import files
from typing import get_args

from sluice_auth.first_things import DASHBOARD, DASHBOARD_SCOPES
from sluice_fhir.source_auth import SourceAuth
from sluice_gateway.models.sources import SourceHealth
from sluice_gateway.page_files import ASSETS
from sluice_security.scopes import Scopes
from support.gateway_memory import memory_gateway


class Markup(HTMLParser):
    """What a browser would run or load because of the page itself."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag in ("script", "img", "link"):
            self.loads.append(given.get("src") or given.get("href") or "")


async def test_nothing_but_the_pages_own_files_may_run_and_all_of_them_are_there() -> None:
    async with memory_gateway(issuer="https://auth.test/realm") as site:
        answer = await site.get("/")
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert "unsafe" not in policy
        assert "connect-src 'self' https://auth.test;" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        markup = Markup()
        markup.feed(await answer.text())
        assert markup.inline == []
        for address in markup.loads:
            part = await site.get(address)
            assert part.status == 200, address
            assert "immutable" in part.headers["Cache-Control"]
            assert part.headers["X-Content-Type-Options"] == "nosniff"
            text = await part.text()
            imported = re.findall(r'from "\./([\w.]+)"', text)
            assert {f"{address.rpartition('/')[0]}/{name}" for name in imported} <= set(markup.loads)


async def test_parts_are_packed_for_whoever_takes_that_and_none_is_there_under_another_version() -> None:
    async with memory_gateway() as site:
        version = site.gateway.page_files.version
        address = f"{ASSETS}/{version}/app.css"
        packed = await site.get(address, headers={"Accept-Encoding": "gzip"})
        plain = await site.get(address, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"])
        assert await packed.read() == await plain.read()
        for wrong in (
            f"{ASSETS}/0000/app.css",
            f"{ASSETS}/{version}/index.html",
            f"{ASSETS}/{version}/..%2fdocs",
        ):
            assert (await site.get(wrong)).status == 404


async def test_the_page_is_told_the_client_that_the_authorization_server_has_for_it() -> None:
    async with memory_gateway() as site:
        told = await (await site.get("/dashboard/config.json")).json()
        assert told["client_id"] == DASHBOARD
        assert Scopes.parse(told["scope"]) == DASHBOARD_SCOPES
        assert (await site.get("/dashboard/signed-in?code=c&state=s")).status == 200


def test_every_kind_of_credentials_and_every_state_of_a_source_has_words() -> None:
    page = (files("sluice_gateway") / "static" / "dashboard" / "sources_view.js").read_text()
    kinds = {each.__struct_config__.tag for each in get_args(SourceAuth)}
    states = get_args(SourceHealth.model_fields["state"].annotation)
    assert {*kinds, *states} <= set(re.findall(r"(\w+): [\[\"]", page))
