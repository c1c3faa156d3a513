"""Downstream systems find the messages' document, schemas and page at the gateway, as they are."""

from __future__ import annotations

import re

from sluice_contracts.asyncapi import document
from sluice_contracts.schemas import published, schema_of
from sluice_gateway.message_page import page
from support.gateway_memory import memory_gateway


async def test_the_document_and_every_schema_are_served() -> None:
    async with memory_gateway() as site:
        assert await (await site.get("/asyncapi.json")).json() == document()
        for name, kind in published().items():
            answer = await site.get(f"/schemas/messages/{name}.json")
            assert answer.content_type == "application/schema+json"
            assert await answer.json(content_type=None) == schema_of(kind)
        assert (await site.get("/schemas/messages/None.json")).status == 404


async def test_the_page_names_everything_and_loads_nothing() -> None:
    async with memory_gateway() as site:
        answer = await site.get("/docs/events")
        text = await answer.text()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert not re.search(r"<script|src=|url\(", text)
        for link in set(re.findall(r'href="(/[^"]*)"', text)):
            assert (await site.get(link)).status == 200, link
        anchors = set(re.findall(r'id="([^"]+)"', text))
        assert set(re.findall(r'href="#([^"]+)"', text)) <= anchors
        assert {*document()["channels"], *published()} <= anchors


async def test_what_a_text_holds_is_no_markup() -> None:
    shown = document()
    shown["info"]["description"] = "a `<script>` & more"
    assert "<p>a <code>&lt;script&gt;</code> &amp; more</p>" in page(shown)
