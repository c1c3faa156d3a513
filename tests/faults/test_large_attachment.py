"""An attachment of 3 GiB through the whole stack: it arrives whole, and no service grows with it."""

from __future__ import annotations

import hashlib

import pytest
from aiohttp import ClientTimeout

from bench.stack_watch import peaks
from sluice_stack.source import rules
from sluice_stack.stack import Stack
from support.portal import new_portal

NAME = "big-3gb"
MOST_MIB = 200


@pytest.mark.timeout(1200)
async def test_an_attachment_of_more_than_two_gigabytes_arrives_whole_in_bounded_memory(
    module_stack: Stack,
) -> None:
    size = rules.big_size(NAME)
    assert size is not None
    assert size > 2**31
    digest, sent = hashlib.sha256(), 0
    async with new_portal(module_stack, "large") as portal:
        with peaks(module_stack) as highest:
            url = f"{module_stack.layout.source_url}/r4/fhir/DocumentReference/{NAME}"
            (ended,) = await portal.finished([await portal.submit([url])], within=900)
            (result,) = ended["result"]
            assert result["error"] is None
            status, info = await portal.call("GET", f"/v2/files/{result['resource']['id']}/download_info")
            assert status == 200
            async with portal.http.get(info["url"], timeout=ClientTimeout(total=None)) as answer:
                async for piece in answer.content.iter_any():
                    digest.update(piece)
                    sent += len(piece)
    expected, block = hashlib.sha256(), rules.big_block()
    for start in range(0, size, len(block)):
        expected.update(block[: size - start])
    assert (sent, digest.hexdigest()) == (size, expected.hexdigest())
    assert {"fetcher", "attacher", "gateway"} <= set(highest)
    # The demo source is no service of ours.
    grown = {name: peak for name, peak in highest.items() if name != "source" and peak >= MOST_MIB}
    assert not grown
