"""Webhooks over HTTP on a real Postgres: registered, changed, looked after, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from support.gateway_real import RealSite, real_gateway
from support.stack import Database

URL = "/v2/webhooks"
OWN: dict[str, Any] = {"client": "portal", "subject": "portal", "scopes": ""}


@pytest.fixture
async def site(database: Database) -> AsyncIterator[RealSite]:
    async with real_gateway(database) as found:
        yield found


async def registered(site: RealSite, **fields: Any) -> dict[str, Any]:
    body = {"url": "https://portal.example/hook?tenant=1", **fields}
    answer = await site.post(URL, json=body, headers=site.bearer(**OWN))
    shown: dict[str, Any] = await answer.json()
    assert answer.status == 201, shown
    return shown


async def test_a_secret_is_shown_once_and_kept_sealed(site: RealSite) -> None:
    made = await registered(site)
    assert made["secret"].startswith("whsec_")
    assert made["types"] == ["job.planned", "job.finished", "job.expired"]
    path = f"{URL}/{made['id']}"
    changes = {"types": ["item.failed"], "url": "https://other.example/"}
    texts = [
        await (await site.get(path, headers=site.bearer(**OWN))).text(),
        await (await site.get(URL, headers=site.bearer(**OWN))).text(),
        await (await site.call("PATCH", path, json=changes, headers=site.bearer(**OWN))).text(),
    ]
    assert "whsec_" not in "".join(texts)
    kept = await site.admin.fetchval("SELECT secret FROM webhooks.endpoints")
    assert made["secret"].encode() not in kept
    shown = await (await site.get(path, headers=site.bearer(**OWN))).json()
    assert (shown["types"], shown["url"]) == (["item.failed"], "https://other.example/")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://portal.example/hook"}, "url"),
        ({"url": "ftp://portal.example"}, "url"),
        ({"url": "https://u:p@portal.example"}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"url": "https://portal.example", "types": []}, "types"),
        ({"url": "https://portal.example", "types": ["job.lost"]}, "types"),
        ({"url": "https://portal.example", "colour": "red"}, "colour"),
    ],
)
async def test_a_webhook_that_cannot_be_called_is_refused(
    site: RealSite, body: dict[str, Any], field: str
) -> None:
    answer = await site.post(URL, json=body, headers=site.bearer(**OWN))
    assert answer.status == 400
    assert field in (await answer.json())["message"]


async def test_this_machine_is_no_place_for_webhooks_outside_of_development(database: Database) -> None:
    async with real_gateway(database) as site:
        object.__setattr__(site.gateway.webhooks, "loopback", False)
        body = {"url": "https://127.0.0.1:9/hook"}
        assert (await site.post(URL, json=body, headers=site.bearer(**OWN))).status == 400


async def test_a_client_has_only_so_many(site: RealSite) -> None:
    for _ in range(20):
        await registered(site)
    body = {"url": "https://portal.example/hook"}
    assert (await site.post(URL, json=body, headers=site.bearer(**OWN))).status == 409
    page = await site.get(f"{URL}?limit=5", headers=site.bearer(**OWN))
    assert page.headers["X-Total-Matching-Query"] == "20"
    assert len((await page.json())["items"]) == 5


async def test_a_ping_waits_and_a_disabled_webhook_is_sent_nothing(site: RealSite) -> None:
    path = f"{URL}/{(await registered(site))['id']}"
    headers = site.bearer(**OWN)
    ping = await site.post(f"{path}/actions/ping", headers=headers)
    sent = await ping.json()
    assert (ping.status, sent["type"], sent["state"], sent["job"]) == (202, "webhook.ping", "waiting", None)
    disabled = await site.call("PATCH", path, json={"enabled": False}, headers=headers)
    assert (await disabled.json())["enabled"] is False
    delivery = f"{path}/deliveries/{sent['id']}"
    assert (await (await site.get(delivery, headers=headers)).json())["state"] == "failed"
    for action in (f"{path}/actions/ping", f"{delivery}/actions/redeliver"):
        refused = await site.post(action, headers=headers)
        assert (refused.status, (await refused.json())["code"]) == (409, "webhook_disabled")
    assert (await site.call("PATCH", path, json={"enabled": True}, headers=headers)).status == 200
    again = await site.post(f"{delivery}/actions/redeliver", headers=headers)
    assert (again.status, (await again.json())["message"]) == (202, sent["message"])
    waiting = await (await site.get(f"{path}/deliveries?state=waiting", headers=headers)).json()
    assert [it["id"] for it in waiting["items"]] == [sent["id"]]
    assert (await site.call("DELETE", path, headers=headers)).status == 204
    assert (await site.get(path, headers=headers)).status == 404


async def test_pings_and_what_is_delivered_again_are_tried_for_as_long_as_the_gateway_is_told(
    database: Database,
) -> None:
    async with real_gateway(database, webhook_hours=2) as site:
        path = f"{URL}/{(await registered(site))['id']}"
        ping = await (await site.post(f"{path}/actions/ping", headers=site.bearer(**OWN))).json()
        tried = "SELECT until - due FROM webhooks.deliveries"
        assert await site.admin.fetchval(tried) == timedelta(hours=2)
        await site.admin.execute("UPDATE webhooks.deliveries SET until = due, state = 'failed'")
        again = f"{path}/deliveries/{ping['id']}/actions/redeliver"
        assert (await site.post(again, headers=site.bearer(**OWN))).status == 202
        assert await site.admin.fetchval(tried) == timedelta(hours=2)


async def test_to_anyone_but_its_client_a_webhook_does_not_exist(site: RealSite) -> None:
    made = await registered(site)
    ping = await site.post(f"{URL}/{made['id']}/actions/ping", headers=site.bearer(**OWN))
    delivery = (await ping.json())["id"]
    routes = [
        ("GET", "", None),
        ("PATCH", "", {"enabled": False}),
        ("DELETE", "", None),
        ("POST", "/actions/rotate-secret", {"overlap_hours": 1}),
        ("POST", "/actions/ping", None),
        ("GET", "/deliveries", None),
        ("GET", f"/deliveries/{delivery}", None),
        ("POST", f"/deliveries/{delivery}/actions/redeliver", None),
    ]
    other = site.bearer(client="other", subject="other", scopes="")
    for method, path, body in routes:
        answers = []
        for webhook in (made["id"], "0" * 24):
            answer = await site.call(method, f"{URL}/{webhook}{path}", json=body, headers=other)
            answers.append((answer.status, await answer.text()))
        assert answers[0] == answers[1], path
        assert answers[0][0] == 404
        # A person whom the client acts for has no say in it either.
        person = await site.call(method, f"{URL}/{made['id']}{path}", json=body, headers=site.bearer())
        assert (person.status, (await person.json())["code"]) == (403, "not_the_client")
    listed = await (await site.get(URL, headers=other)).json()
    assert listed["items"] == []
    # Another of the client's own webhooks is no way to a delivery.
    second = await registered(site)
    crossed = f"{URL}/{second['id']}/deliveries/{delivery}"
    assert (await site.get(crossed, headers=site.bearer(**OWN))).status == 404
    assert await site.admin.fetchval("SELECT state FROM webhooks.deliveries") == "waiting"
