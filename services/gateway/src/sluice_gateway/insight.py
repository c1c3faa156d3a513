"""What insight answers over HTTP: it only watches, so it is asked for little and believed no further."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp


async def answer_of(
    session: aiohttp.ClientSession, url: str, most: int, params: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Ask insight for something and give its answer's body.

    Raises
    ------
    aiohttp.ClientError
        It is away, or its status is no success.
    ValueError
        The body has more than `most` bytes.
    """
    async with session.get(url, params=params) as answer:
        answer.raise_for_status()
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > most:
                raise ValueError("an answer of insight's is too long")
        return bytes(body)
