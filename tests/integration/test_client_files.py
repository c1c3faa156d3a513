"""Files by the SDK, against a gateway on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from sluice_client import Credentials, SluiceClient
from support.gateway_real import RealSite, listening_gateway, signed_in
from support.stack import Database

CONTENT = b"what a document holds"


@pytest.fixture
async def site(database: Database) -> AsyncIterator[tuple[RealSite, str]]:
    async with listening_gateway(database) as found:
        yield found


@pytest.fixture
async def sluice(site: tuple[RealSite, str]) -> AsyncIterator[SluiceClient]:
    async with signed_in(*site, "ann", "files/read files/write") as login:
        who = Credentials(client_id="ann", client_secret="s")
        async with SluiceClient(site[1], auth_url=login["SLUICE_AUTH_URL"], credentials=who) as client:
            yield client


async def test_files_are_given_by_their_ids_however_many_as_far_as_they_are_there_for_the_client(
    site: tuple[RealSite, str], sluice: SluiceClient
) -> None:
    bench = site[0].bench
    own, other = await bench.project("ann"), await bench.project("bob")
    mine = [await bench.file(own, f"{number}.txt", CONTENT) for number in range(2)]
    theirs = await bench.file(other, "a.txt", CONTENT)
    unknown = [f"{number:024x}" for number in range(150)]
    asked = [mine[0], *unknown, theirs, mine[1]]
    assert set(await sluice.files_by_id(asked)) == set(mine)
    assert await sluice.files_by_id([]) == {}


async def test_metadata_that_replaces_leaves_nothing_of_what_was_there(
    site: tuple[RealSite, str], sluice: SluiceClient
) -> None:
    file = await site[0].bench.file(await site[0].bench.project("ann"), "a.txt", CONTENT)
    await sluice.change_file(file, metadata={"study": "7", "arm": "b"})
    assert await sluice.replace_metadata(file, {"arm": "c"}) == {"arm": "c"}
    assert await sluice.metadata(file) == {"arm": "c"}


async def test_whoever_has_a_download_address_needs_no_token(
    site: tuple[RealSite, str], sluice: SluiceClient
) -> None:
    file = await site[0].bench.file(await site[0].bench.project("ann"), "a.txt", CONTENT)
    address = await sluice.download_address(file)
    async with aiohttp.ClientSession() as http, http.get(address) as answer:
        assert await answer.read() == CONTENT
