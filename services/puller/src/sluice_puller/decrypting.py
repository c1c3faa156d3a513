"""Manifests and files that are encrypted with a key of their submitter's (version 4.0.0, ballot, "Submit").

They are held whole: nothing of one counts before all of it is authenticated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable

from sluice_contracts.errors import ItemError
from sluice_contracts.imports import PulledKind
from sluice_fhir.submitted import Submitted
from sluice_security.content_keys import NotDecryptedError, decrypt, is_encrypted
from sluice_security.failure import SourceFailure


async def plain_page(body: bytes, submitted: Submitted) -> bytes:
    """Give a page of a manifest as it was before it was encrypted, which it has to be if there is a key.

    Raises
    ------
    SourceFailure
        `NOT_DECRYPTED`: it is not encrypted with the key.
    """
    return body if submitted.key is None else await _plain(body, submitted.key)


async def plain_file(chunks: AsyncIterable[bytes], key: bytes, kind: PulledKind) -> AsyncGenerator[bytes]:
    """Give a file as it was before it was encrypted: `output` has to be, what else is listed may be.

    Raises
    ------
    SourceFailure
        `NOT_DECRYPTED`: it is not encrypted with the key.
    """
    content = b"".join([chunk async for chunk in chunks])
    if kind is PulledKind.OUTPUT or is_encrypted(content):
        content = await _plain(content, key)
    yield content


async def _plain(content: bytes, key: bytes) -> bytes:
    try:
        return await asyncio.to_thread(decrypt, content, key)
    except NotDecryptedError:
        raise SourceFailure(ItemError.NOT_DECRYPTED) from None
