"""`sluice webhooks` as clients use it, against a gateway on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.gateway_real import listening_gateway, signed_in
from support.stack import Database


@pytest.fixture
async def variables(database: Database) -> AsyncIterator[dict[str, Any]]:
    async with listening_gateway(database) as (site, url), signed_in(site, url, "portal", "") as found:
        yield found


async def test_a_webhook_from_being_added_to_being_removed(variables: dict[str, Any], tmp_path: Path) -> None:
    sluice = Cli(tmp_path)
    assert (await sluice("webhooks", "list", **variables)).out.strip() == "No webhooks yet."
    address, wanted = "https://portal.example/hook", ("--type", "job.finished")
    added = await sluice("webhooks", "add", address, *wanted, **variables)
    assert added.code == 0, added.err
    id_, _, secret = added.out.partition("\n")
    assert secret.startswith("secret: whsec_")
    listed = await sluice("--json", "webhooks", "list", **variables)
    assert [(it["id"], it["types"], it["secret"]) for it in listed.json] == [(id_, ["job.finished"], None)]
    delivery = (await sluice("webhooks", "ping", id_, **variables)).out.strip()
    shown = await sluice("--json", "webhooks", "deliveries", id_, "--state", "waiting", **variables)
    assert [(it["id"], it["type"]) for it in shown.json] == [(delivery, "webhook.ping")]
    assert (await sluice("webhooks", "redeliver", id_, delivery, **variables)).out == "sent again\n"
    assert (await sluice("webhooks", "change", id_, "--type", "job.planned", **variables)).out == "changed\n"
    assert "job.planned" in (await sluice("webhooks", "list", **variables)).out
    assert (await sluice("webhooks", "change", id_, **variables)).code == 2
    rotated = await sluice("webhooks", "rotate-secret", id_, "--overlap", "1", **variables)
    assert rotated.out.startswith("secret: whsec_")
    assert rotated.out.strip() != secret.strip()
    assert (await sluice("webhooks", "disable", id_, **variables)).out == "disabled\n"
    assert "failed" in (await sluice("webhooks", "deliveries", id_, **variables)).out
    assert (await sluice("webhooks", "redeliver", id_, delivery, **variables)).code != 0
    assert (await sluice("webhooks", "enable", id_, **variables)).out == "enabled\n"
    assert (await sluice("webhooks", "remove", id_, **variables)).out == "removed\n"
    assert (await sluice("webhooks", "ping", id_, **variables)).code == 4
