"""The secret of the services is replaced: ids given out under the old one are known until it goes."""

from __future__ import annotations

import pytest

from sluice_contracts.ids import accepted_at
from support.gateway_memory import Site, memory_gateway, one_item

OLD, NEW = "0a" * 32, "0b" * 32


async def submitted(site: Site) -> str:
    answer = await site.post("/v2/bulk/fhir", json=one_item(), headers=site.bearer())
    assert answer.status == 202, await answer.text()
    return str((await answer.json())["id"])


async def seen(site: Site, job: str) -> list[int]:
    """Give the answers to polls at each of a job's addresses, before anything but its id is known."""
    paths = (f"/v2/bulk/fhir/{job}", f"/v2/jobs/{job}")
    return [(await site.get(path, headers=site.bearer())).status for path in paths]


async def test_a_job_accepted_under_the_old_secret_is_known_until_that_is_removed() -> None:
    async with memory_gateway(secret=OLD) as site:
        job = await submitted(site)
    for secret, wanted in ((f"{NEW} {OLD}", [200, 200]), (f"{OLD}\n{NEW}", [200, 200]), (NEW, [404, 404])):
        async with memory_gateway(secret=secret) as site:
            assert await seen(site, job) == wanted


@pytest.mark.parametrize("secret", [f"{NEW} {OLD}", f"{NEW}\n{OLD}\n"])
async def test_the_first_secret_is_the_one_that_ids_are_made_with(secret: str) -> None:
    async with memory_gateway(secret=NEW) as only:
        async with memory_gateway(secret=secret) as site:
            job = await submitted(site)
        assert await seen(only, job) == [200, 200]
        assert accepted_at(only.id_keys(), "portal/ann", job) is not None
